"""Several invocations at once in one container: by a frontend that runs, and peers that do what they are told."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.scheduler.v1 import capacity_pb2
from stoker_protos.v1 import invocations_pb2
from stoker_service.errors import ErrorKind

from tests.frontend.codestore_peer import spec_of
from tests.frontend.host_peer import Outcome, echo
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import World, failure_of, running_world

MOST = 10


class Gate:
    """Runs invocations, each of which waits to be let go, and counts those in each container."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.is_open = asyncio.Event()

    async def run(self, start: hostagent_pb2.Start) -> Outcome:
        self.running[start.container] += 1
        self.most[start.container] = max(self.most[start.container], self.running[start.container])
        try:
            await self.is_open.wait()
            return await echo(start)
        finally:
            self.running[start.container] -= 1


@asynccontextmanager
async def shared_world(concurrency: int = MOST, **settings: Any) -> AsyncGenerator[tuple[World, Gate]]:
    """A world whose function runs several at once in a container."""
    async with running_world(**settings) as world:
        world.codestore.put(spec_of("ann", "hello", concurrency=concurrency))
        gate = Gate()
        world.host.run = gate.run
        yield world, gate


async def begun(world: World, count: int) -> None:
    """Waits until so many invocations have reached the host."""
    await world.host.journal.wait_for(lambda: len(world.host.started) == count)


async def test_as_many_as_fit_share_a_container_that_was_asked_for_once() -> None:
    async with shared_world() as (world, gate):
        calls = [world.invoke(str(number).encode()) for number in range(MOST)]
        await begun(world, MOST)
        gate.is_open.set()
        answers = await asyncio.gather(*calls)
        assert [answer.payload for answer in answers] == [str(number).encode() for number in range(MOST)]
        assert len(gate.most) == 1
        assert len(world.scheduler.acquired) == 1
        starts = Counter(answer.start for answer in answers)
        assert starts == {invocations_pb2.START_KIND_COLD: 1, invocations_pb2.START_KIND_WARM: MOST - 1}


async def test_no_container_runs_more_than_it_may() -> None:
    async with shared_world() as (world, gate):
        calls = [world.invoke() for _ in range(25)]
        await begun(world, 25)
        gate.is_open.set()
        await asyncio.gather(*calls)
    assert sorted(gate.most.values()) == [5, 10, 10]
    assert len(world.scheduler.acquired) == 3


async def test_a_later_one_joins_the_fullest_container_with_room() -> None:
    async with shared_world(concurrency=3) as (world, gate):
        calls = [world.invoke() for _ in range(5)]
        await begun(world, 5)
        fullest = gate.running.most_common(1)[0][0]
        calls[[start.container for start in world.host.started].index(fullest)].cancel()
        await world.host.journal.wait_for(lambda: len(world.host.stopped) == 1)
        calls.append(world.invoke())
        await begun(world, 6)
        assert gate.running[world.host.started[-1].container] == 3
        gate.is_open.set()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_caller_that_leaves_costs_the_others_nothing() -> None:
    async with shared_world() as (world, gate):
        leaving, staying = world.invoke(), world.invoke(b"[1]")
        await begun(world, 2)
        leaving.cancel()
        await world.host.journal.wait_for(lambda: len(world.host.stopped) == 1)
        gate.is_open.set()
        assert (await staying).payload == b"[1]"
        assert (await world.invoke()).start == invocations_pb2.START_KIND_WARM
        assert world.scheduler.released == []


async def test_a_deadline_stops_one_and_keeps_the_container() -> None:
    async with shared_world() as (world, gate):
        staying = world.invoke(b"[1]")
        await begun(world, 1)
        error = await failure_of(world.invoke(timeout_s=0.3))
        assert (error.kind, error.metadata["phase"]) == (ErrorKind.DEADLINE_EXCEEDED, "run")
        await world.host.journal.wait_for(lambda: len(world.host.stopped) == 1)
        gate.is_open.set()
        assert (await staying).payload == b"[1]"
        assert (await world.invoke()).start == invocations_pb2.START_KIND_WARM
        assert world.scheduler.released == []


async def test_a_lost_container_is_given_back_once_as_broken() -> None:
    async with shared_world() as (world, gate):

        async def lose(start: hostagent_pb2.Start) -> Outcome:
            await gate.run(start)
            return hostagent_pb2.Failed(reason="CONTAINER_LOST", message="it is gone")

        world.host.run = lose
        calls = [world.invoke() for _ in range(3)]
        await begun(world, 3)
        gate.is_open.set()
        for call in calls:
            assert (await failure_of(call)).reason == "CONTAINER_LOST"
        world.host.run = echo
        assert (await world.invoke()).start == invocations_pb2.START_KIND_COLD
        lease_id = world.host.started[0].lease_id
        await world.scheduler.journal.wait_for(lambda: world.scheduler.released == [(lease_id, True)])


async def test_the_scheduler_may_allow_fewer_in_a_container() -> None:
    async with shared_world() as (world, gate):

        async def grant_narrow(
            request: capacity_pb2.AcquireContainerRequest,
        ) -> capacity_pb2.AcquireContainerResponse:
            response = await world.scheduler.grant_new(request)
            response.lease.concurrency = 2
            return response

        world.scheduler.grant = grant_narrow
        calls = [world.invoke() for _ in range(4)]
        await begun(world, 4)
        assert sorted(gate.running.values()) == [2, 2]
        gate.is_open.set()
        await asyncio.gather(*calls)


async def test_those_who_wait_get_places_as_they_become_free() -> None:
    async with shared_world(concurrency=2, max_acquiring_per_version=1) as (world, _):
        ran = 0

        async def run(start: hostagent_pb2.Start) -> Outcome:
            nonlocal ran
            ran += 1
            await asyncio.sleep(0)
            return await echo(start)

        world.host.run = run
        granted: list[str] = []

        async def grant_once(
            request: capacity_pb2.AcquireContainerRequest,
        ) -> capacity_pb2.AcquireContainerResponse:
            if granted:
                await asyncio.Event().wait()
            granted.append(request.spec.uid)
            return await world.scheduler.grant_new(request)

        world.scheduler.grant = grant_once
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(*(world.invoke() for _ in range(20)))
    assert (ran, len(granted)) == (20, 1)


async def test_a_break_of_the_stream_fails_all_that_run_there() -> None:
    async with shared_world() as (world, _):
        calls = [world.invoke() for _ in range(3)]
        await begun(world, 3)
        world.host.break_streams()
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
