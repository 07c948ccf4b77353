"""Invocations that a runtime reads from a port of its own: a real runtime as a process, and the agent's side of it.

A socket stands in for the port; it behaves the same but for hosts that come back.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent.board import Board
from agent.direct import Direct
from agent.failures import Ended, exited
from agent.output import Output
from agent.runtime_channel import ChannelMisused, Message, RuntimeChannel

from tests.guest.runtime_process import LIMIT_BYTES, Runtime, running, written

SIZES = struct.Struct(">II")
CODE = """
    import os, subprocess, threading

    def handler(event, context):
        match event["do"]:
            case "print":
                print("one")
                print("two", end="")
            case "print past Python":
                subprocess.run(["echo", "three"])
            case "print in a thread":
                thread = threading.Thread(target=print, args=("four",))
                thread.start()
                thread.join()
            case "fail":
                raise ValueError("no")
            case "exit":
                os._exit(3)
            case "large":
                return "x" * 1_000_000
            case "return":
                return event["what"]
"""


@dataclass
class PortRuntime:
    """A runtime with a port, and what the agent has to do with it."""

    runtime: Runtime
    port: socket.socket
    direct: Direct

    async def send(self, event: Any, invocation_id: str = "i-1") -> tuple[dict[str, Any], bytes]:
        """Sends an invocation as the host does, and returns what comes back by the port."""
        header = {
            "invocation_id": invocation_id,
            "content_type": "application/json",
            "timeout_ms": 5000,
            "traceparent": "",
            "max_response_bytes": LIMIT_BYTES,
        }
        text, body = json.dumps(header).encode(), json.dumps(event).encode()
        await asyncio.get_running_loop().sock_sendall(self.port, SIZES.pack(len(text), len(body)) + text + body)
        return await self.receive()

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        """Waits for what comes back by the port."""
        header_size, body_size = SIZES.unpack(await self._exactly(SIZES.size))
        return json.loads(await self._exactly(header_size)), await self._exactly(body_size)

    async def _exactly(self, size: int) -> bytes:
        data = b""
        async with asyncio.timeout(10):
            while len(data) < size:
                part = await asyncio.get_running_loop().sock_recv(self.port, size - len(data))
                if not part:
                    raise EOFError
                data += part
        return data


class Printing:
    """A container's pipes, and what was made of what is written to them."""

    def __init__(self) -> None:
        readers = [os.pipe(), os.pipe()]
        self.stdout, self.stderr = (writing for _, writing in readers)
        self.lines: list[tuple[str, str, str]] = []
        self.has_lines = asyncio.Event()
        self.output = Output(readers[0][0], readers[1][0], self._take)

    def _take(self, invocation_id: str, stream: str, lines: list[str]) -> None:
        self.lines += [(invocation_id, stream, line) for line in lines]
        self.has_lines.set()


@pytest.fixture
async def printing() -> AsyncIterator[Printing]:
    """A container's pipes."""
    made = Printing()
    yield made
    made.output.close()
    os.close(made.stdout)
    os.close(made.stderr)


@dataclass
class Page:
    """The runtime's view of a board."""

    file: int

    def run(self, invocation_id: str) -> None:
        """Writes what runs."""
        os.pwrite(self.file, bytes([len(invocation_id)]) + invocation_id.encode(), 1)

    @property
    def is_marked(self) -> bool:
        """Whether an answer must come by way of the agent."""
        return os.pread(self.file, 1, 0) == b"\1"


@pytest.fixture
def board() -> Iterator[Board]:
    """A board that nobody has been given yet."""
    made = Board()
    yield made
    os.close(made.file)


@asynccontextmanager
async def with_port(code: Path, board: Board, printing: Printing) -> AsyncGenerator[PortRuntime]:
    """Starts a runtime that has loaded the function, and gives it a port."""
    written(code, {"main.py": CODE})
    async with running("python3", code, printing.stdout, printing.stderr) as runtime:
        assert (await runtime.load(has_port=True)).type == "loaded"
        ours, theirs = socket.socketpair()
        with ours:
            for end in (ours, theirs):
                end.setblocking(False)
            with theirs:
                runtime.channel.send_files(b'{"type":"port"}', (theirs.fileno(), board.file))
            printing.output.follow(board)
            direct = Direct(runtime.channel, board)
            listening = asyncio.create_task(direct.listen())
            try:
                yield PortRuntime(runtime, ours, direct)
            finally:
                listening.cancel()
                await asyncio.wait([listening])


@pytest.fixture
async def it(tmp_path: Path, board: Board, printing: Printing) -> AsyncIterator[PortRuntime]:
    """A runtime with a port."""
    async with with_port(tmp_path, board, printing) as made:
        yield made


async def test_what_prints_nothing_is_answered_without_the_agent(it: PortRuntime) -> None:
    for number in range(3):
        header, body = await it.send({"do": "return", "what": number}, f"i-{number}")
        assert (header["type"], header["invocation_id"]) == ("result", f"i-{number}")
        assert header["run_ns"] > 0
        assert json.loads(body) == number


async def test_an_answer_may_be_long(it: PortRuntime) -> None:
    header, body = await it.send({"do": "large"})
    assert header["type"] == "result"
    assert json.loads(body) == "x" * 1_000_000


async def test_an_event_may_be_long_and_come_in_parts(it: PortRuntime) -> None:
    _, body = await it.send({"do": "return", "what": "y" * 1_000_000})
    assert json.loads(body) == "y" * 1_000_000


@pytest.mark.parametrize(
    ("do", "tail"), [("print", b"one\ntwo"), ("print past Python", b"three\n"), ("print in a thread", b"four\n")]
)
async def test_what_prints_is_answered_by_way_of_the_agent(
    it: PortRuntime, printing: Printing, do: str, tail: bytes
) -> None:
    assert (await it.send({"do": do}))[0] == {"type": "agent"}
    answer = await it.direct.answer("i-1")
    assert isinstance(answer, Message)
    assert (answer.type, answer.body) == ("result", b"null")
    assert printing.output.end_of("i-1") == tail
    assert printing.lines == [("i-1", "stdout", line) for line in tail.decode().splitlines()]
    # What follows has nothing to do with it.
    assert (await it.send({"do": "return", "what": 2}, "i-2"))[0]["type"] == "result"


async def test_a_failure_is_told_by_way_of_the_agent(it: PortRuntime) -> None:
    assert (await it.send({"do": "fail"}))[0] == {"type": "agent"}
    answer = await it.direct.answer("i-1")
    assert isinstance(answer, Message)
    assert (answer.type, answer.header["message"]) == ("failed", "no")


async def test_a_mark_brings_the_answer_to_the_agent_until_it_is_taken_away(it: PortRuntime, board: Board) -> None:
    board.mark()
    assert (await it.send({"do": "return", "what": 1}))[0] == {"type": "agent"}
    await it.direct.answer("i-1")
    board.clear()
    assert (await it.send({"do": "return", "what": 2}, "i-2"))[0]["type"] == "result"


async def test_the_board_tells_what_ran_when_the_process_ended(it: PortRuntime, board: Board) -> None:
    assert not it.direct.is_under_way
    with pytest.raises(EOFError):
        await it.send({"do": "exit"}, "i-9")
    assert board.invocation_id == "i-9"
    assert it.direct.is_under_way


async def test_a_runtime_ends_with_its_agent(it: PortRuntime) -> None:
    it.runtime.channel.close()
    async with asyncio.timeout(10):
        assert await it.runtime.process.wait() == 0


async def test_a_runtime_without_a_host_waits_and_ends_with_its_agent(it: PortRuntime) -> None:
    it.port.close()
    it.runtime.channel.close()
    async with asyncio.timeout(10):
        assert await it.runtime.process.wait() == 0


def test_nonsense_on_the_board_is_no_invocation(board: Board) -> None:
    os.pwrite(board.file, b"\0\3\xff/\n", 0)
    assert board.invocation_id == ""
    Page(board.file).run("i-7")
    assert board.invocation_id == "i-7"


def test_a_board_stays_as_large_as_it_is(board: Board) -> None:
    for size in (10, 10_000):
        with pytest.raises(PermissionError):
            os.ftruncate(board.file, size)


async def test_whoever_asks_after_the_end_is_told_how_it_ended(board: Board) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        direct = Direct(RuntimeChannel(ours), board)
        failure = exited(Ended(3, is_out_of_memory=False), "the invocation", 128)
        direct.end(failure)
        assert await direct.answer("i-1") == failure


async def test_a_runtime_that_answers_nothing_that_was_asked_is_found_out(board: Board) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        direct = Direct(RuntimeChannel(ours), board)
        text = b'{"type":"ready"}'
        theirs.sendall(SIZES.pack(len(text), 0) + text)
        with pytest.raises(ChannelMisused):
            await direct.listen()


async def test_lines_belong_to_what_the_board_says(printing: Printing, board: Board) -> None:
    page = Page(board.file)
    printing.output.follow(board)
    page.run("i-1")
    os.write(printing.stdout, b"one\nhalf")
    async with asyncio.timeout(5):
        await printing.has_lines.wait()
    assert page.is_marked
    os.write(printing.stderr, b"two\n")
    page.run("")
    assert printing.output.end_of("i-1") == b"one\nhalftwo\n"
    assert not page.is_marked
    os.write(printing.stdout, b"between\n")
    printing.has_lines.clear()
    async with asyncio.timeout(5):
        await printing.has_lines.wait()
    page.run("i-2")
    assert printing.output.end_of("i-2") == b""
    assert printing.lines == [
        ("i-1", "stdout", "one"),
        ("i-1", "stderr", "two"),
        ("i-1", "stdout", "half"),
        ("", "stdout", "between"),
    ]
