"""Leases: kept while they are of use, prolonged, and given back."""

import asyncio

from stoker_protos.v1 import invocations_pb2

from tests.frontend.peers import WITHIN_S
from tests.frontend.world import running_world


async def test_an_unused_lease_is_given_back_unbroken() -> None:
    async with running_world(lease_idle_s=0.1) as world:
        await world.invoke()
        [start] = world.host.started
        await world.scheduler.journal.wait_for(lambda: world.scheduler.released == [(start.lease_id, False)])
        assert (await world.invoke()).start == invocations_pb2.START_KIND_COLD


async def test_held_leases_are_renewed_well_before_they_end() -> None:
    async with running_world() as world:
        world.scheduler.ttl_ms = 500
        await world.invoke()
        [start] = world.host.started
        begun_s = asyncio.get_running_loop().time()
        await world.scheduler.journal.wait_for(lambda: len(world.scheduler.renewed) >= 3)
        assert asyncio.get_running_loop().time() - begun_s < 2.0
    assert all(lease_ids == [start.lease_id] for lease_ids in world.scheduler.renewed)


async def test_a_lease_that_the_scheduler_ended_is_not_used_again() -> None:
    async with running_world() as world:
        world.scheduler.ttl_ms = 500
        await world.invoke()
        world.scheduler.ended.add(world.host.started[0].lease_id)
        async with asyncio.timeout(WITHIN_S):
            while (await world.invoke()).start == invocations_pb2.START_KIND_WARM:
                pass
        assert len(world.scheduler.acquired) == 2


async def test_another_tenants_or_functions_lease_is_never_used() -> None:
    async with running_world() as world:
        for tenant in ("ann", "bob", "ann", "bob"):
            await world.invoke(tenant=tenant)
        containers = [start.container for start in world.host.started]
    assert containers[0] == containers[2]
    assert containers[1] == containers[3]
    assert containers[0] != containers[1]
