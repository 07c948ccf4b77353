"""Printed lines: kept within bounds, over restarts, and followed without gap or repetition."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stoker_hostagent.artifact import Artifact
from stoker_hostagent.log_segments import LogLine
from stoker_hostagent.log_store import LogStore
from stoker_hostagent.versions import Version
from stoker_service.background import background
from stoker_service.errors import StokerError

from tests.hostagent.hostagent_peers import version_of

HELLO = version_of(Artifact("acme", "0" * 64, 1))
KIB = 1024


@asynccontextmanager
async def logging(
    directory: Path, *, function_bytes: int = 1024 * KIB, total_bytes: int = 4096 * KIB
) -> AsyncGenerator[LogStore]:
    logs = LogStore(directory, max_function_bytes=function_bytes, max_total_bytes=total_bytes)
    await logs.open()
    async with background() as tasks:
        tasks.start(logs.run(), "write")
        yield logs
        await logs.write()
        logs.close()


def say(logs: LogStore, *lines: str, version: Version = HELLO, dropped: int = 0) -> None:
    logs.add(version, "c-1", "invocation", "stdout", lines, dropped)


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.jsonl"))


def tear_last_line(directory: Path) -> None:
    (segment,) = directory.rglob("*.jsonl")
    segment.write_bytes(segment.read_bytes() + b'[1,1,"torn')


async def kept(logs: LogStore, limit: int = 10_000, function: str = "hello") -> list[LogLine]:
    return [line async for line in logs.read("acme", function, limit=limit, follow=False)]


def texts(lines: list[LogLine]) -> list[str]:
    return [line.line for line in lines]


async def test_a_line_is_kept_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs:
        say(logs, "first", "schön \u2028 \ud800 \x00")
        lines = await kept(logs)
    assert (lines[0].version, lines[0].invocation_id, lines[0].container, lines[0].stream, lines[0].line) == (
        1,
        "invocation",
        "c-1",
        "stdout",
        "first",
    )
    assert lines[1].line.startswith("schön \u2028")
    assert lines[0].time_ns < lines[1].time_ns


async def test_the_last_lines_come_oldest_first(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs:
        say(logs, *map(str, range(100)))
        assert texts(await kept(logs, limit=3)) == ["97", "98", "99"]
        assert await kept(logs, limit=0) == []


async def test_lines_outlive_a_restart_and_later_ones_come_after_them(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs:
        say(logs, "before")
    tear_last_line(tmp_path)
    async with logging(tmp_path) as logs:
        say(logs, "after")
        lines = await kept(logs)
    assert texts(lines) == ["before", "after"]
    assert lines[0].time_ns < lines[1].time_ns


async def test_functions_and_tenants_are_kept_apart(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs:
        say(logs, "mine")
        say(logs, "theirs", version=version_of(Artifact("umbrella", "0" * 64, 1)))
        assert texts(await kept(logs)) == ["mine"]


async def test_a_function_keeps_its_newest_lines_within_its_bound(tmp_path: Path) -> None:
    async with logging(tmp_path, function_bytes=64 * KIB) as logs:
        for first in range(0, 10_000, 500):
            say(logs, *(f"line {number}" for number in range(first, first + 500)))
            await logs.write()
            assert size_of(tmp_path) <= 64 * KIB
        lines = texts(await kept(logs))
    assert lines == [f"line {number}" for number in range(10_000 - len(lines), 10_000)]
    assert len(lines) > 400


async def test_of_all_functions_the_oldest_lines_go_first(tmp_path: Path) -> None:
    async with logging(tmp_path, function_bytes=8 * KIB, total_bytes=16 * KIB) as logs:
        for number in range(5):
            say(logs, *["x" * 100] * 30, version=dataclasses.replace(HELLO, function=f"f{number}"))
            await logs.write()
        assert size_of(tmp_path) <= 16 * KIB
        assert await kept(logs, function="f0") == []
        assert len(await kept(logs, function="f4")) == 30
    assert not (tmp_path / "acme" / "f0").exists()


async def test_lines_that_were_lost_on_the_way_are_told_of(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs:
        say(logs, "after", dropped=3)
        assert texts(await kept(logs)) == [
            "[stoker] 3 lines are missing here: they came faster than they could be kept or read",
            "after",
        ]


async def test_following_an_unknown_function_waits_for_its_first_line(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs, aclosing(logs.read("acme", "hello", limit=10, follow=True)) as lines:
        first = asyncio.ensure_future(anext(lines))
        await asyncio.wait((first,), timeout=0.02)
        say(logs, "hello")
        async with asyncio.timeout(5):
            assert (await first).line == "hello"


async def test_closing_ends_those_who_follow(tmp_path: Path) -> None:
    async with logging(tmp_path) as logs:
        say(logs, "one")

        async def follow() -> list[str]:
            return [line.line async for line in logs.read("acme", "hello", limit=10, follow=True)]

        following = asyncio.create_task(follow())
        await asyncio.wait((following,), timeout=0.05)
        logs.close()
        async with asyncio.timeout(5):
            assert await following == ["one"]


async def test_a_follower_that_falls_behind_what_is_kept_is_told_of_the_gap(tmp_path: Path) -> None:
    async with (
        logging(tmp_path, function_bytes=8 * KIB) as logs,
        aclosing(logs.read("acme", "hello", limit=10, follow=True)) as lines,
    ):
        say(logs, "seen")
        assert (await anext(lines)).line == "seen"
        say(logs, *(f"line {number}" for number in range(1000)))
        await logs.write()
        read = [(await anext(lines)).line for _ in range(3)]
        assert read[0].startswith("[stoker] some lines are missing here")
        assert read[1].startswith("line ")
        assert int(read[2].split()[1]) == int(read[1].split()[1]) + 1


@pytest.mark.parametrize("function", ["..", "a/b", "", "A"])
async def test_names_cannot_lead_out_of_the_directory(tmp_path: Path, function: str) -> None:
    async with logging(tmp_path) as logs:
        with pytest.raises(StokerError) as caught:
            await anext(logs.read("acme", function, limit=1, follow=True))
        assert caught.value.field == "function"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.integers(1, 60),
    limit=st.integers(1, 80),
    after=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=6),
)
async def test_followers_see_each_line_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, before: int, limit: int, after: list[tuple[int, bool]]
) -> None:
    async with logging(tmp_path_factory.mktemp("logs"), function_bytes=64 * KIB) as logs:
        numbers = iter(range(10_000))
        say(logs, *(str(next(numbers)) for _ in range(before)))
        first = before - min(before, limit)
        async with aclosing(logs.read("acme", "hello", limit=limit, follow=True)) as lines, asyncio.timeout(5):
            assert (await anext(lines)).line == str(first)
            for count, is_written in after:
                say(logs, *(str(next(numbers)) for _ in range(count)))
                if is_written:
                    await logs.write()
            for number in range(first + 1, next(numbers)):
                assert (await anext(lines)).line == str(number)
