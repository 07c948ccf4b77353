"""What bounds an invocation: deadlines, timeouts, cancellation, limits, and the end of the frontend."""

import asyncio

import grpc.aio
import pytest
from stoker_frontend import invocations
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.v1 import invocations_pb2
from stoker_service.errors import ErrorKind

from tests.frontend.codestore_peer import spec_of
from tests.frontend.host_peer import Outcome, echo, for_ever
from tests.frontend.scheduler_peer import grant_none
from tests.frontend.world import failure_of, running_world

STALE = hostagent_pb2.Failed(reason="LEASE_STALE", message="the lease is not the container's")


async def test_a_deadline_in_the_queue_ends_the_wait_and_nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "MARGIN_S", 0.2)  # answers in time on the busiest machine
    async with running_world() as world:
        world.scheduler.grant = grant_none
        error = await failure_of(world.invoke(timeout_s=1))
        assert (error.reason, error.metadata) == ("DEADLINE_EXCEEDED", {"phase": "queue"})
        await world.scheduler.journal.wait_for(lambda: world.scheduler.waiting == 0)
        assert world.host.started == []


async def test_a_deadline_in_the_run_stops_it_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "MARGIN_S", 0.2)  # as above
    async with running_world() as world:
        world.host.run = for_ever
        error = await failure_of(world.invoke(timeout_s=1))
        assert (error.kind, error.reason) == (ErrorKind.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert error.metadata == {"phase": "run"}
        [start] = world.host.started
        assert 0 < start.timeout_ms < 1100, "gRPC itself rounds deadlines up"
        await world.host.journal.wait_for(lambda: world.host.stopped == [start.invocation_id])
        await world.scheduler.journal.wait_for(lambda: world.scheduler.released == [(start.lease_id, True)])


async def test_a_deadline_that_the_host_notices_first_is_the_callers_and_not_the_functions() -> None:
    async def run(_start: hostagent_pb2.Start) -> Outcome:
        failure = invocations_pb2.FunctionError(kind=invocations_pb2.FUNCTION_ERROR_KIND_TIMEOUT, type="Timeout")
        return hostagent_pb2.Finished(function_error=failure, container_lost=True)

    async with running_world() as world:
        world.host.run = run
        of_caller = await failure_of(world.invoke(timeout_s=5))
        of_function = await world.invoke(timeout_s=None)
    assert (of_caller.reason, of_caller.metadata) == ("DEADLINE_EXCEEDED", {"phase": "run"})
    assert of_function.function_error.kind == invocations_pb2.FUNCTION_ERROR_KIND_TIMEOUT


async def test_the_functions_timeout_bounds_the_run() -> None:
    async with running_world() as world:
        world.codestore.put(spec_of("ann", "short", timeout_s=2))
        await world.invoke(function="short", timeout_s=None)
        [start] = world.host.started
    assert start.timeout_ms == 2000


async def test_a_cancelled_call_stops_the_run_and_gives_up_the_container() -> None:
    async with running_world() as world:
        world.host.run = for_ever
        call = world.invoke(timeout_s=None)
        await world.host.journal.wait_for(lambda: len(world.host.started) == 1)
        call.cancel()
        [start] = world.host.started
        await world.host.journal.wait_for(lambda: world.host.stopped == [start.invocation_id])
        await world.scheduler.journal.wait_for(lambda: world.scheduler.released == [(start.lease_id, True)])
        world.host.run = echo
        assert (await world.invoke()).container != start.container


async def test_a_cancelled_call_leaves_the_queue() -> None:
    async with running_world() as world:
        world.scheduler.grant = grant_none
        call = world.invoke(timeout_s=None)
        await world.scheduler.journal.wait_for(lambda: world.scheduler.waiting == 1)
        call.cancel()
        await world.scheduler.journal.wait_for(lambda: world.scheduler.waiting == 0)


async def test_more_than_may_run_are_refused_at_once() -> None:
    async with running_world(max_invocations=2) as world:
        world.host.run = for_ever
        running = [world.invoke(timeout_s=None) for _ in range(2)]
        await world.host.journal.wait_for(lambda: len(world.host.started) == 2)
        error = await failure_of(world.invoke())
        assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "TOO_MANY_INVOCATIONS")
        assert error.retry_after_s is not None
        for call in running:
            call.cancel()
        await world.host.journal.wait_for(lambda: len(world.host.stopped) == 2)
        world.host.run = echo
        await world.invoke()


async def test_without_capacity_in_time_the_caller_is_told() -> None:
    async with running_world(capacity_wait_s=0.2) as world:
        world.scheduler.grant = grant_none
        error = await failure_of(world.invoke())
    assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "NO_CAPACITY")


async def test_a_frontend_that_stops_lets_running_calls_end() -> None:
    may_end = asyncio.Event()

    async def run(start: hostagent_pb2.Start) -> Outcome:
        await may_end.wait()
        return await echo(start)

    async with running_world(drain_s=10.0) as world:
        world.host.run = run
        call = asyncio.ensure_future(world.invoke(b"[1]"))
        await world.host.journal.wait_for(lambda: len(world.host.started) == 1)
        asyncio.get_running_loop().call_later(0.1, may_end.set)
    assert (await call).payload == b"[1]"


async def test_a_frontend_that_stops_ends_what_overruns_the_drain() -> None:
    async with running_world(drain_s=0.1) as world:
        world.host.run = for_ever
        call = asyncio.ensure_future(world.invoke(timeout_s=None))
        await world.host.journal.wait_for(lambda: len(world.host.started) == 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await world.host.journal.wait_for(lambda: len(world.host.stopped) == 1)
