"""What functions printed, of all hosts."""

import asyncio
from typing import Any

import pytest
from stoker_frontend import logs
from stoker_frontend.logs import MAX_TAILS
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.v1 import logs_pb2
from stoker_service.errors import ErrorKind

from tests.frontend.host_peer import HostPeer
from tests.frontend.peers import WITHIN_S, Served
from tests.frontend.world import World, failure_of, running_world


def printed(second: int, line: str) -> hostagent_pb2.ReadLogsResponse:
    entry = logs_pb2.LogEntry(version=1, container="c-1", stream="stdout", line=line)
    entry.time.FromSeconds(second)
    return hostagent_pb2.ReadLogsResponse(entry=entry)


def tail(world: World, *, tenant: str = "ann", function: str = "hello", **more: Any) -> Any:
    request = logs_pb2.TailLogsRequest(name=f"functions/{function}", **more)
    return world.logs.TailLogs(request, timeout=WITHIN_S, metadata=world.keys[tenant])


async def lines_of(call: Any) -> list[str]:
    return [response.entry.line async for response in call]


async def test_lines_of_all_hosts_come_in_the_order_of_their_time() -> None:
    second = HostPeer()
    second_server = Served(second.register)
    await second_server.begin()
    try:
        async with running_world() as world:
            world.scheduler.hosts["host-2"] = second_server.address
            world.scheduler.hosts["host-3"] = "127.0.0.1:1"
            world.host.logs = [printed(1, "a"), printed(4, "d")]
            second.logs = [printed(2, "b"), printed(3, "c")]
            assert await lines_of(tail(world)) == ["a", "b", "c", "d"]
            assert await lines_of(tail(world, limit=3)) == ["b", "c", "d"]
            assert {(request.tenant, request.function) for request in second.log_requests} == {("ann", "hello")}
    finally:
        await second_server.end()


async def test_following_shows_each_line_once_from_then_on() -> None:
    async with running_world() as world:
        world.host.logs = [printed(1, "a"), printed(2, "b"), printed(2, "b")]
        call = tail(world, follow=True)
        lines = aiter(call)
        shown = [(await anext(lines)).entry.line for _ in range(3)]
        await world.host.journal.wait_for(lambda: bool(world.host.log_followers))
        world.host.print_line(printed(2, "b"))
        world.host.print_line(printed(3, "c"))
        shown += [(await anext(lines)).entry.line for _ in range(2)]
        call.cancel()
        await world.host.journal.wait_for(lambda: bool(world.host.log_requests))
    assert shown == ["a", "b", "b", "b", "c"]


async def test_nobody_reads_the_lines_of_a_function_that_is_not_theirs() -> None:
    async with running_world() as world:
        world.host.logs = [printed(1, "a")]
        error = await failure_of(lines_of(tail(world, function="secret")))
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND")
    assert world.host.log_requests == []


async def test_a_frontend_that_stops_ends_following_at_once() -> None:
    async with running_world(drain_s=30.0) as world:
        world.host.logs = [printed(1, "a")]
        lines = aiter(tail(world, follow=True))
        await anext(lines)
        begun_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun_s < 5
    error = await failure_of(anext(lines))
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "FRONTEND_STOPPING")


async def test_no_more_callers_than_may_read_at_once() -> None:
    async with running_world() as world:
        world.host.logs = [printed(1, "a")]
        calls = [tail(world, follow=True) for _ in range(MAX_TAILS)]
        for call in calls:
            await anext(aiter(call))
        error = await failure_of(lines_of(tail(world)))
        assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "TOO_MANY_TAILS")
        for call in calls:
            call.cancel()


async def test_what_is_kept_for_one_caller_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_KEPT_CHARACTERS", 10)
    async with running_world() as world:
        world.host.logs = [printed(number, f"{number}abc") for number in range(5)]
        assert await lines_of(tail(world)) == ["3abc", "4abc"]


async def test_lines_are_shown_while_the_codestore_is_away_but_not_without_the_scheduler() -> None:
    async with running_world() as world:
        world.host.logs = [printed(1, "a")]
        await world.codestore_server.end()
        assert await lines_of(tail(world)) == ["a"]
        await world.scheduler_server.end()
        assert (await failure_of(lines_of(tail(world)))).reason == "SCHEDULER_UNAVAILABLE"
