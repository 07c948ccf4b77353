"""What a container prints: lines, attributed to the invocation under way."""

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import suppress

from agent.board import Board

MAX_LINE_BYTES = 16 * 1024
TAIL_BYTES = 4 * 1024
READ_BYTES = 64 * 1024
MAX_DRAIN_BYTES = 256 * 1024
"""How much is read of what was printed before an invocation ended: a pipe holds a quarter of it, and whoever goes on
printing from another thread doesn't hold up the answer."""


class LineSplitter:
    """Cuts bytes into lines of at most 16 KiB."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Takes bytes, and returns the lines that are complete with them."""
        *complete, rest = (self._rest + data).split(b"\n")
        lines = [part for line in complete for part in _parts(line)]
        *cut, self._rest = _parts(rest)
        return [_text(line) for line in (*lines, *cut)]

    def flush(self) -> list[str]:
        """Returns the line that was begun and not ended."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _parts(line: bytes) -> list[bytes]:
    """A line in parts that are short enough, cut between characters."""
    parts: list[bytes] = []
    while len(line) > MAX_LINE_BYTES:
        end = MAX_LINE_BYTES
        while end > MAX_LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(line[:end])
        line = line[end:]
    return [*parts, line]


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")


class Output:
    """Reads the pipes that are a container's standard output and standard error."""

    def __init__(self, stdout: int, stderr: int, printed: Callable[[str, str, list[str]], None]) -> None:
        """Begins to read.

        Args:
            stdout: The reading end of its standard output. It is closed by `close`.
            stderr: That of its standard error.
            printed: Called with the invocation's id, the stream's name and lines.
        """
        self._printed = printed
        self._invocation_id = ""
        self._board: Board | None = None
        self._tail = bytearray()
        self._splitters = {stdout: LineSplitter(), stderr: LineSplitter()}
        self._names = {stdout: "stdout", stderr: "stderr"}
        self._has_printed = select.poll()
        for pipe in self._names:
            self._has_printed.register(pipe, select.POLLIN)
            os.set_blocking(pipe, False)
            asyncio.get_running_loop().add_reader(pipe, self._read, pipe)

    def redirect(self, printed: Callable[[str, str, list[str]], None]) -> None:
        """From here on lines are told there."""
        self._take_rest()
        self._printed = printed

    def tell(self, invocation_id: str, stream: str, lines: list[str]) -> None:
        """Tells lines that came another way than by the pipes."""
        self._printed(invocation_id, stream, lines)

    def follow(self, board: Board) -> None:
        """From here on the process says by the board whose lines they are, and is marked to wait for `end_of`."""
        self._board = board

    def begin(self, invocation_id: str) -> None:
        """From here on lines belong to this invocation."""
        self._take_rest()
        self._invocation_id = invocation_id
        self._tail.clear()

    def end(self) -> bytes:
        """Attributes what has been printed so far to the invocation, and ends it. Returns the last 4 KiB."""
        self._take_rest()
        self._invocation_id = ""
        return bytes(self._tail)

    def end_of(self, invocation_id: str) -> bytes:
        """The same where the process says what it runs, for an invocation that it has said to be over."""
        board, self._board = self._board, None
        if self._invocation_id != invocation_id:
            self._change_owner(invocation_id)
        tail = self.end()
        self._board = board
        if board is not None:
            board.clear()
        return tail

    def close(self) -> None:
        """Takes what is left, and closes the pipes."""
        self._take_rest()
        for pipe in list(self._names):
            self._forget(pipe)

    def _take_rest(self) -> None:
        # Mostly there is nothing, which one call finds out for both pipes.
        for pipe, _ in self._has_printed.poll(0):
            taken = 0
            while taken < MAX_DRAIN_BYTES and (count := self._read(pipe)):
                taken += count
        self._tell_unfinished()

    def _tell_unfinished(self) -> None:
        for pipe, splitter in self._splitters.items():
            if lines := splitter.flush():
                self._printed(self._invocation_id, self._names[pipe], lines)

    def _change_owner(self, invocation_id: str) -> None:
        self._tell_unfinished()
        self._invocation_id = invocation_id
        self._tail.clear()

    def _read(self, pipe: int) -> int:
        """Reads what there is; returns how much it was."""
        if self._board is not None:
            # First the mark, so that the process cannot go on to another invocation in between unnoticed.
            self._board.mark()
            if (owner := self._board.invocation_id) != self._invocation_id:
                self._change_owner(owner)
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            # All writers are gone, which may be before the container's end.
            self._unwatch(pipe)
            return 0
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        if lines := self._splitters[pipe].feed(data):
            self._printed(self._invocation_id, self._names[pipe], lines)
        return len(data)

    def _forget(self, pipe: int) -> None:
        self._unwatch(pipe)
        os.close(pipe)
        del self._names[pipe], self._splitters[pipe]

    def _unwatch(self, pipe: int) -> None:
        asyncio.get_running_loop().remove_reader(pipe)
        with suppress(KeyError):  # it had its end before
            self._has_printed.unregister(pipe)
