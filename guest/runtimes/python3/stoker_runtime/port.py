"""The port from which this runtime reads invocations, without the guest agent; `guest/runtimes/README.md` tells more.

One process that is woken once for an invocation takes 0.4 ms of an emulated processor; the guest agent in between took
4 (November 2026), since whatever is emulated has to be found again after each change from one process to another.
"""

import fcntl
import json
import mmap
import os
import select
import struct
import termios
from typing import Any

from .channel import Channel

READ_BYTES = 64 * 1024
FIRST_FREE_FILE = 16
BOARD_BYTES = 4096
MARK, LENGTH, ID = 0, 1, 2
"""Where on the board the agent's mark is, the length of the invocation's id, and the id."""

UNKNOWN = b"-"
"""The id of an invocation of which only a part has come yet."""

HAND_OVER = b'{"type":"agent"}'

_decode = json.JSONDecoder().decode
_SIZES = struct.Struct(">II")


class HostGone(Exception):
    """Whoever sent the invocation is not there any more."""


class Port:
    """The runtime's end."""

    def __init__(self, channel: Channel) -> None:
        """Takes the port and the board from the agent, which sends them behind the answer to `load`."""
        self._agent = channel.socket
        self._file, board = channel.receive_files(2)
        self._board = mmap.mmap(board, BOARD_BYTES)
        os.close(board)
        self._events = select.poll()
        self._events.register(self._file, select.POLLIN)
        self._events.register(self._agent, select.POLLIN)
        # The function may put others in their place.
        self._printed = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FILE) for file in (1, 2)]

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Waits for an invocation: its header and its body.

        Raises:
            EOFError: The agent is gone.
        """
        while True:
            try:
                return self._receive()
            except HostGone:
                self._board[LENGTH] = 0
                self._wait_for_host()

    def begin(self, invocation_id: str) -> None:
        """Tells which invocation runs from here on."""
        text = invocation_id.encode()
        self._board[LENGTH] = 0
        self._board[ID : ID + len(text)] = text
        self._board[LENGTH] = len(text)

    def may_answer(self) -> bool:
        """Whether the agent has no part in the invocation's end: nothing was printed, and nobody waits at it."""
        for pipe in self._printed:
            if fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0":
                return False
        # What the agent has read it has marked before.
        return not self._board[MARK]

    def answer(self, header: bytes, body: bytes) -> None:
        """Sends an answer; where nobody is there to take it, it is dropped."""
        self._send(header, body)
        self._board[LENGTH] = 0

    def hand_over(self) -> None:
        """Tells that the answer comes by way of the agent, which clears the board when it has sorted the output."""
        self._send(HAND_OVER, b"")

    def _send(self, header: bytes, body: bytes) -> None:
        rest = memoryview(_SIZES.pack(len(header), len(body)) + header + body)
        while rest:
            try:
                rest = rest[os.write(self._file, rest) :]
            except BlockingIOError:
                if not self._wait_for_room():
                    return

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        data = self._read()
        while len(data) < _SIZES.size:
            data += self._read_more()
        header_size, body_size = _SIZES.unpack_from(data)
        begin, end = _SIZES.size + header_size, _SIZES.size + header_size + body_size
        if len(data) < end:
            parts, size = [data], len(data)
            while size < end:
                parts.append(self._read_more())
                size += len(parts[-1])
            data = b"".join(parts)
        # There is no more than one: the next comes when this is answered.
        return _decode(data[_SIZES.size : begin].decode()), data[begin:end]

    def _read_more(self) -> bytes:
        self.begin(UNKNOWN.decode())
        return self._read()

    def _read(self) -> bytes:
        while True:
            for file, _ in self._events.poll():
                if file != self._file:
                    raise EOFError("the guest agent is gone")
            try:
                data = os.read(self._file, READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise HostGone
            return data

    def _wait_for_room(self) -> bool:
        """Returns when there is room; whether anybody is there to take what is sent."""
        room = select.poll()
        room.register(self._file, select.POLLOUT)
        ((_, events),) = room.poll()
        return not events & (select.POLLHUP | select.POLLERR)

    def _wait_for_host(self) -> None:
        # While nobody is there a poll says so again and again; this one tells each change once.
        with select.epoll() as changes:
            changes.register(self._file, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
            changes.register(self._agent, select.EPOLLIN)
            while self._has_no_host():
                for file, _ in changes.poll():
                    if file == self._agent.fileno():
                        raise EOFError("the guest agent is gone")

    def _has_no_host(self) -> bool:
        hang_up = select.poll()
        hang_up.register(self._file, 0)
        return any(events & select.POLLHUP for _, events in hang_up.poll(0))
