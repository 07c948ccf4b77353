"""What an invocation promises: by a frontend that runs, and peers that do what the test tells them to."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc.aio
import pytest
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.scheduler.v1 import capacity_pb2
from stoker_protos.v1 import invocations_pb2
from stoker_service.errors import ErrorKind
from stoker_service.metadata import Context

from tests.frontend.host_peer import Outcome, echo, for_ever
from tests.frontend.peers import serving
from tests.frontend.world import failure_of, running_world

STALE = hostagent_pb2.Failed(reason="LEASE_STALE", message="the lease is not the container's")


async def test_an_answer_says_what_ran_where_and_how_long() -> None:
    async with running_world() as world:
        cold = await world.invoke(b"[1]", content_type="application/json")
        warm = await world.invoke(b"[2]")
        [first, second] = world.host.started
    assert (cold.payload, cold.content_type, cold.executed_version) == (b"[1]", "application/json", 1)
    assert (cold.start, warm.start) == (invocations_pb2.START_KIND_COLD, invocations_pb2.START_KIND_WARM)
    assert (cold.timings.init_ms, warm.timings.init_ms) == (1.5, 0.0)
    assert (cold.host, cold.container) == ("host-1", first.container)
    assert cold.vm.startswith("vm-")
    assert (first.invocation_id, second.invocation_id) == (cold.invocation_id, warm.invocation_id)
    assert warm.timings.run_ms == 0.25
    assert warm.timings.total_ms >= warm.timings.queue_ms >= 0


async def test_a_warm_invocation_asks_neither_scheduler_nor_codestore() -> None:
    async with running_world() as world:
        for _ in range(20):
            await world.invoke()
    assert len(world.scheduler.acquired) == 1
    assert world.codestore.resolved["ann", "hello", "live"] == 1
    assert len({start.container for start in world.host.started}) == 1


async def test_many_at_once_get_a_container_each_and_their_own_answer() -> None:
    async with running_world(max_acquiring_per_version=8) as world:
        answers = await asyncio.gather(*(world.invoke(str(number).encode()) for number in range(50)))
    assert [answer.payload for answer in answers] == [str(number).encode() for number in range(50)]
    assert len(world.host.started) == 50


async def test_no_container_runs_two_at_once() -> None:
    running: set[str] = set()

    async def run(start: hostagent_pb2.Start) -> Outcome:
        assert start.container not in running
        running.add(start.container)
        for _ in range(3):
            await asyncio.sleep(0)
        running.discard(start.container)
        return await echo(start)

    async with running_world() as world:
        world.host.run = run
        for _ in range(3):
            await asyncio.gather(*(world.invoke() for _ in range(20)))
        assert len(world.host.started) == 60


async def test_who_waits_gets_a_container_that_another_is_done_with() -> None:
    async with running_world() as world:
        first_may_end = asyncio.Event()

        async def grant_one(request: capacity_pb2.AcquireContainerRequest) -> Any:
            if len(world.scheduler.acquired) == 1:
                return await world.scheduler.grant_new(request)
            return await asyncio.Event().wait()

        async def run(start: hostagent_pb2.Start) -> Outcome:
            await first_may_end.wait()
            return await echo(start)

        world.scheduler.grant, world.host.run = grant_one, run
        first = asyncio.ensure_future(world.invoke(b"1"))
        await world.host.journal.wait_for(lambda: len(world.host.started) == 1)
        second = asyncio.ensure_future(world.invoke(b"2"))
        await world.scheduler.journal.wait_for(lambda: world.scheduler.waiting == 1)
        first_may_end.set()
        assert (await first).payload == b"1"
        assert (await second).payload == b"2"
        assert (await second).start == invocations_pb2.START_KIND_WARM
        # What was asked for in vain leaves the scheduler's queue.
        await world.scheduler.journal.wait_for(lambda: world.scheduler.waiting == 0)
        assert len({start.container for start in world.host.started}) == 1


async def test_a_stale_lease_makes_way_for_another_container() -> None:
    async with running_world() as world:
        stale: set[str] = set()

        async def run(start: hostagent_pb2.Start) -> Outcome:
            return STALE if start.lease_id in stale else await echo(start)

        world.host.run = run
        first = await world.invoke()
        stale.add(world.host.started[0].lease_id)
        second = await world.invoke()
    assert second.container != first.container
    assert len(world.scheduler.acquired) == 2
    assert world.scheduler.released == [], "a lease that ended on the other side is not given back"


async def test_after_a_few_stale_leases_the_caller_is_told() -> None:
    async def run(_start: hostagent_pb2.Start) -> Outcome:
        return STALE

    async with running_world() as world:
        world.host.run = run
        error = await failure_of(world.invoke())
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "LEASE_STALE")
        assert error.retry_after_s is not None
        assert len(world.host.started) == 4
        world.host.run = echo
        await world.invoke()


async def test_a_lost_container_is_told_and_never_tried_again() -> None:
    async def run(_start: hostagent_pb2.Start) -> Outcome:
        return hostagent_pb2.Failed(reason="CONTAINER_LOST", message="the VM ended")

    async with running_world() as world:
        world.host.run = run
        error = await failure_of(world.invoke())
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "CONTAINER_LOST")
        assert "the VM ended" in error.message
        [start] = world.host.started
        await world.scheduler.journal.wait_for(lambda: world.scheduler.released == [(start.lease_id, True)])


async def test_a_broken_stream_loses_what_ran_and_the_next_is_answered() -> None:
    async with running_world() as world:
        await world.invoke()
        world.host.run = for_ever
        running = asyncio.ensure_future(world.invoke())
        await world.host.journal.wait_for(lambda: len(world.host.started) == 2)
        world.host.break_streams()
        error = await failure_of(running)
        assert error.reason == "CONTAINER_LOST"
        world.host.run = echo
        again = await world.invoke()
        assert again.start == invocations_pb2.START_KIND_COLD, "leases on that host ended with the stream"
        assert len(set(world.host.holders)) == 1
        assert len(world.host.holders) == 2


async def test_what_had_not_left_for_a_host_that_is_away_goes_to_another() -> None:
    async with running_world(host_connect_s=0.2) as world:
        await world.invoke()
        await world.host_server.end()
        good_address = world.scheduler.host_address

        async def grant_dead_then_good(request: capacity_pb2.AcquireContainerRequest) -> Any:
            answer = await world.scheduler.grant_new(request)
            if len(world.scheduler.acquired) == 2:
                answer.lease.host_address = "127.0.0.1:1"
                await world.host_server.begin()
            return answer

        world.scheduler.grant = grant_dead_then_good
        answer = await world.invoke(b"[3]")
        assert answer.payload == b"[3]"
        assert world.host_server.address == good_address


async def test_code_that_does_not_load_is_the_functions_failure() -> None:
    failure = invocations_pb2.FunctionError(
        kind=invocations_pb2.FUNCTION_ERROR_KIND_LOAD,
        type="ImportError",
        message="no module `x`",
        stack_trace=["a", "b"],
    )

    async def grant(_request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
        return capacity_pb2.AcquireContainerResponse(
            load_error=failure, start=invocations_pb2.START_KIND_COLD, init_ms=20
        )

    async with running_world() as world:
        world.scheduler.grant = grant
        answers = await asyncio.gather(*(world.invoke() for _ in range(5)))
        assert world.host.started == []
    assert [answer.function_error for answer in answers] == [failure] * 5
    assert answers[0].timings.init_ms == 20


@pytest.mark.parametrize("is_container_lost", [False, True])
async def test_a_functions_own_error_passes_through(is_container_lost: bool) -> None:
    failure = invocations_pb2.FunctionError(
        kind=invocations_pb2.FUNCTION_ERROR_KIND_EXCEPTION, type="ValueError", message="no", stack_trace=["in handler"]
    )

    async def run(_start: hostagent_pb2.Start) -> Outcome:
        return hostagent_pb2.Finished(
            function_error=failure, log_tail=b"printed", container_lost=is_container_lost, run_ms=3
        )

    async with running_world() as world:
        world.host.run = run
        first = await world.invoke(log_tail=True)
        second = await world.invoke(log_tail=True)
        assert world.host.started[0].log_tail
    assert (first.function_error, first.log_tail, first.payload) == (failure, b"printed", b"")
    assert (second.container != first.container) == is_container_lost


async def test_without_a_scheduler_warm_ones_go_on_and_others_are_told() -> None:
    async with running_world(capacity_wait_s=0.5) as world:
        await world.invoke()
        await world.scheduler_server.end()
        warm = await world.invoke()
        error = await failure_of(world.invoke(tenant="bob"))
        await world.scheduler_server.begin()
        cold = await world.invoke(tenant="bob")
    assert warm.start == invocations_pb2.START_KIND_WARM
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "SCHEDULER_UNAVAILABLE")
    assert cold.start == invocations_pb2.START_KIND_COLD


async def test_the_largest_payload_goes_both_ways() -> None:
    payload = b"x" * (6 * 1024 * 1024)
    async with running_world() as world:
        assert (await world.invoke(payload)).payload == payload


async def test_the_trace_reaches_the_host_and_the_scheduler() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traceparent = f"00-{trace_id}-00f067aa0ba902b7-01"
    request = invocations_pb2.InvokeRequest(name="functions/hello")
    async with running_world() as world:
        await world.invocations.Invoke(request, timeout=5, metadata=(*world.keys["ann"], ("traceparent", traceparent)))
    assert trace_id in world.host.started[0].traceparent
    assert trace_id in world.scheduler.traceparents[0]


async def test_nothing_of_an_invocation_stays_behind() -> None:
    async with running_world() as world:

        async def objects_after(invocations: int) -> int:
            for _ in range(invocations):
                await world.invoke()
            world.host.started.clear()
            gc.collect()
            return len(gc.get_objects())

        await objects_after(200)
        before = await objects_after(200)
        assert await objects_after(1000) - before < 500, "less than an object for two invocations"


async def test_a_host_that_sends_garbage_loses_its_runs_and_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    async def connect(requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b"\xff\xff\xff"

    def register(server: grpc.aio.Server) -> None:
        handler: Any = cast("Any", grpc).stream_stream_rpc_method_handler(connect)
        service = "stoker.hostagent.v1.InvocationService"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Connect": handler})])

    async with serving([register]) as (bad_server,), running_world() as world:
        good_address, world.scheduler.host_address = world.scheduler.host_address, bad_server.address
        error = await failure_of(world.invoke())
        world.scheduler.host_address = good_address
        answer = await world.invoke(b"[1]")
    assert error.reason == "CONTAINER_LOST"
    assert answer.payload == b"[1]"
    caplog.clear()  # gRPC logs the garbage as an error, as it should
