"""What containers print: cut into lines, attributed, kept within limits on its way to the host."""

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from agent.events import Event, Events, Exited, Lines
from agent.output import MAX_LINE_BYTES, TAIL_BYTES, LineSplitter, Output
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary(max_size=500), st.lists(st.integers(0), max_size=6))
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter()
    lines: list[str] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        lines += splitter.feed(data[start:end])
    lines += splitter.flush()
    whole = LineSplitter()
    assert lines == whole.feed(data) + whole.flush()
    assert splitter.flush() == []


@given(st.text("aé🎉", min_size=1, max_size=7).map(lambda text: text * 20_000))
def test_a_long_line_is_cut_between_characters(text: str) -> None:
    splitter = LineSplitter()
    parts = splitter.feed(text.encode() + b"\n")
    assert "".join(parts) == text
    assert all(len(part.encode()) <= MAX_LINE_BYTES for part in parts)


def test_an_endless_line_is_not_kept() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(100) for line in splitter.feed(b"x" * 10_000)]
    assert len(lines) == 100 * 10_000 // MAX_LINE_BYTES
    assert len(splitter.flush()[0]) <= MAX_LINE_BYTES


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

    def close(self) -> None:
        self.output.close()
        os.close(self.stdout)
        os.close(self.stderr)


@pytest.fixture
async def printing() -> AsyncIterator[Printing]:
    """A container's pipes."""
    made = Printing()
    yield made
    made.close()


async def test_all_that_was_printed_before_the_end_belongs_to_the_invocation(printing: Printing) -> None:
    os.write(printing.stdout, b"before\nhalf")
    printing.output.begin("i-1")
    os.write(printing.stdout, b"one\ntwo")
    os.write(printing.stderr, b"three\n")
    assert printing.output.end() == b"one\ntwothree\n"
    os.write(printing.stdout, b"after\n")
    printing.output.begin("i-2")
    assert printing.output.end() == b""
    assert printing.lines == [
        ("", "stdout", "before"),
        ("", "stdout", "half"),
        ("i-1", "stdout", "one"),
        ("i-1", "stderr", "three"),
        ("i-1", "stdout", "two"),
        ("", "stdout", "after"),
    ]


async def test_the_tail_is_the_last_four_kibibytes(printing: Printing) -> None:
    printing.output.begin("i-1")
    os.write(printing.stdout, b"a" * 60_000 + b"b" * TAIL_BYTES)
    assert printing.output.end() == b"b" * TAIL_BYTES


async def test_lines_come_while_the_invocation_runs(printing: Printing) -> None:
    printing.output.begin("i-1")
    os.write(printing.stdout, b"now\n")
    await asyncio.wait_for(printing.has_lines.wait(), 5)
    assert printing.lines == [("i-1", "stdout", "now")]


async def read(events: Events, count: int) -> list[Event]:
    """The next events."""
    seen: list[Event] = []
    async with asyncio.timeout(5):
        async for event in events.read():
            seen.append(event)
            if len(seen) == count:
                break
    return seen


async def test_events_wait_for_a_reader_in_order() -> None:
    events = Events()
    events.printed("c-1", "i-1", "stdout", ["a", "b"])
    events.exited("c-1", "oom")
    assert await read(events, 2) == [Lines("c-1", "i-1", "stdout", ("a", "b")), Exited("c-1", "oom")]


async def test_lines_that_nobody_reads_are_dropped_and_counted_and_exits_are_not() -> None:
    events = Events(max_waiting_bytes=1000)
    for number in range(100):
        events.printed("c-1", "i-1", "stdout", [f"{number:02}"])
    events.exited("c-1", "exited")
    kept = 1000 // 66
    seen = await read(events, kept + 2)
    assert [event.lines for event in seen[:kept] if isinstance(event, Lines)] == [(f"{n:02}",) for n in range(kept)]
    assert seen[kept:] == [Exited("c-1", "exited"), Lines("c-1", "i-1", "stdout", (), 100 - kept)]
    events.printed("c-1", "i-1", "stdout", ["again"])
    assert await read(events, 1) == [Lines("c-1", "i-1", "stdout", ("again",))]


async def test_many_lines_go_in_batches() -> None:
    events = Events()
    events.printed("c-1", "i-1", "stdout", ["x"] * 1000)
    assert [len(event.lines) for event in await read(events, 4) if isinstance(event, Lines)] == [256, 256, 256, 232]


async def test_a_new_reader_ends_the_old_one() -> None:
    events = Events()
    old = asyncio.create_task(read(events, 1))
    await asyncio.sleep(0)
    new = asyncio.create_task(read(events, 1))
    assert await asyncio.wait_for(old, 5) == []
    events.exited("c-1", "exited")
    assert await new == [Exited("c-1", "exited")]
