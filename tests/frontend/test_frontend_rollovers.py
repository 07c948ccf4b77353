"""What callers see of a rollover: by a frontend that runs, and peers that do what the test tells them to."""

import asyncio
from typing import Any

from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.scheduler.v1 import capacity_pb2
from stoker_protos.v1 import aliases_pb2, invocations_pb2

from tests.frontend.codestore_peer import spec_of
from tests.frontend.host_peer import Outcome, echo
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import World, running_world

V1, V2, V3 = (spec_of("ann", "hello", number) for number in (1, 2, 3))
BROKEN = capacity_pb2.AcquireContainerResponse(
    load_error=invocations_pb2.FunctionError(kind=invocations_pb2.FUNCTION_ERROR_KIND_LOAD, type="SyntaxError")
)
LOADING = invocations_pb2.ROLLOVER_RULE_SERVED_WHILE_LOADING
FAILING = invocations_pb2.ROLLOVER_RULE_SERVED_WHILE_FAILING


class Loading:
    """A scheduler that gives containers of the first version at once, and of others when the test lets it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_loaded = asyncio.Event()
        self.is_broken = False
        world.scheduler.grant = self._grant

    async def _grant(self, request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
        if request.only_idle:
            return capacity_pb2.AcquireContainerResponse()
        if request.spec.number > 1:
            await self.is_loaded.wait()
            if self.is_broken:
                return BROKEN
        return await self.world.scheduler.grant_new(request)

    def asked(self, number: int) -> list[capacity_pb2.AcquireContainerRequest]:
        """What was asked for of a version, but what is idle."""
        return [each for each in self.world.scheduler.requests if each.spec.number == number and not each.only_idle]


async def move(world: World, new: codestore_pb2.VersionSpec, **previous: Any) -> None:
    """Points `live` to a version, from those with lower numbers."""
    old = [spec for spec in (V2, V1) if spec.number < new.number]
    world.codestore.precede(new, *old, **previous)
    routes = [aliases_pb2.WeightedVersion(version=new.number, weight=100)]
    alias = aliases_pb2.Alias(name="functions/hello/aliases/live", routes=routes)
    request = aliases_pb2.UpdateAliasRequest(alias=alias)
    await world.aliases.UpdateAlias(request, metadata=world.keys["ann"], timeout=WITHIN_S)


async def answered_by(world: World, number: int) -> Any:
    """Invokes until a version answers; returns its first answer."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            response = await world.invoke()
            if response.executed_version == number:
                return response


async def test_the_old_version_answers_until_the_new_one_is_loaded() -> None:
    async with running_world() as world:
        loading = Loading(world)
        await world.invoke()
        await move(world, V2)
        for _ in range(10):
            response = await world.invoke()
            assert (response.executed_version, response.start) == (1, invocations_pb2.START_KIND_WARM)
            assert (response.rollover.target_version, response.rollover.rule) == (2, LOADING)
        loading.is_loaded.set()
        response = await answered_by(world, 2)
        assert not response.HasField("rollover")
        [request] = loading.asked(2)
        assert (request.in_background, list(request.replaces)) == (True, [V1.uid])


async def test_as_many_old_containers_are_given_back_as_there_are_new_ones() -> None:
    may_end = asyncio.Event()

    async def run(start: hostagent_pb2.Start) -> Outcome:
        await may_end.wait()
        return await echo(start)

    async with running_world() as world:
        loading = Loading(world)
        world.host.run = run
        calls = [world.invoke() for _ in range(4)]
        await world.host.journal.wait_for(lambda: len(world.host.started) == 4)
        may_end.set()
        await asyncio.gather(*calls)
        loading.is_loaded.set()
        await move(world, V2)
        await answered_by(world, 2)
        await world.scheduler.journal.wait_for(lambda: len(world.scheduler.released) == 1)
        async with asyncio.timeout(WITHIN_S):
            while {each.executed_version for each in await asyncio.gather(*(world.invoke() for _ in range(4)))} != {2}:
                pass
        await world.scheduler.journal.wait_for(lambda: len(world.scheduler.released) == 4)
        assert not any(is_broken for _, is_broken in world.scheduler.released)


async def test_a_version_that_fails_to_load_leaves_the_old_one_answering_and_is_tried_again_later() -> None:
    async with running_world() as world:
        loading = Loading(world)
        await world.invoke()
        loading.is_broken = True
        loading.is_loaded.set()
        await move(world, V2)
        assert (await world.invoke()).executed_version == 1
        await world.codestore.journal.wait_for(lambda: len(world.codestore.loads) == 1)
        for _ in range(5):
            response = await world.invoke()
            assert (response.executed_version, response.rollover.rule) == (1, FAILING)
            assert not response.HasField("function_error")
        assert len(loading.asked(2)) == 1
        [told] = world.codestore.loads
        assert (told.version_uid, told.error.type, told.failures, told.retry_ms) == (V2.uid, "SyntaxError", 1, 1000)
        loading.is_broken = False
        await answered_by(world, 2)
        await world.codestore.journal.wait_for(lambda: len(world.codestore.loads) == 2)
        assert not world.codestore.loads[1].HasField("error")


async def test_while_the_new_version_fails_a_container_of_the_old_one_is_made_whatever_the_bound() -> None:
    async with running_world() as world:
        loading = Loading(world)
        loading.is_broken = True
        loading.is_loaded.set()
        await move(world, V2, remaining_ms=0)
        response = await world.invoke()
        assert (response.executed_version, response.start) == (1, invocations_pb2.START_KIND_COLD)
        assert response.rollover.rule == FAILING


async def test_after_the_bound_requests_wait_for_the_new_version() -> None:
    async with running_world() as world:
        loading = Loading(world)
        await world.invoke()
        await move(world, V2, remaining_ms=0)
        waiting = world.invoke()
        await world.scheduler.journal.wait_for(lambda: bool(loading.asked(2)))
        assert not loading.asked(2)[0].in_background
        loading.is_loaded.set()
        response = await waiting
        assert response.executed_version == 2
        assert response.rollover.rule == invocations_pb2.ROLLOVER_RULE_WAITED_AS_STALE


async def test_a_version_that_differs_in_what_callers_see_is_waited_for_and_it_is_said_in_what() -> None:
    async with running_world() as world:
        loading = Loading(world)
        await world.invoke()
        rule = invocations_pb2.ROLLOVER_RULE_WAITED_AS_DIFFERENT
        await move(world, V2, rule=rule, differing_fields=["memory_mib"])
        loading.is_loaded.set()
        response = await answered_by(world, 2)
        assert (response.rollover.rule, list(response.rollover.differing_fields)) == (rule, ["memory_mib"])


async def test_a_request_by_number_gets_that_version_alone() -> None:
    async with running_world() as world:
        loading = Loading(world)
        await world.invoke()
        world.codestore.put(V2, "2")
        await move(world, V2)
        waiting = world.invoke(qualifier="2")
        await world.scheduler.journal.wait_for(lambda: bool(loading.asked(2)))
        loading.is_loaded.set()
        response = await waiting
        assert (response.executed_version, response.HasField("rollover")) == (2, False)


async def test_who_finds_no_old_container_free_gets_whichever_comes_first() -> None:
    may_end = asyncio.Event()

    async def run(start: hostagent_pb2.Start) -> Outcome:
        if start.payload == b'"slow"':
            await may_end.wait()
        return await echo(start)

    async with running_world() as world:
        loading = Loading(world)
        world.host.run = run
        await world.invoke()
        slow = world.invoke(b'"slow"')
        await world.host.journal.wait_for(lambda: len(world.host.started) == 2)
        await move(world, V2)
        other = world.invoke()
        await world.scheduler.journal.wait_for(lambda: bool(loading.asked(2)))
        may_end.set()
        assert (await slow).executed_version == 1
        response = await other
        assert (response.executed_version, response.rollover.rule) == (1, LOADING)


async def test_an_old_container_that_is_idle_elsewhere_answers_too() -> None:
    async with running_world() as world:

        async def grant(request: capacity_pb2.AcquireContainerRequest) -> Any:
            if request.only_idle:
                assert request.spec.number == 1
                return await world.scheduler.grant_new(request)
            return await asyncio.Event().wait()

        world.scheduler.grant = grant
        await move(world, V2)
        response = await world.invoke()
        assert (response.executed_version, response.rollover.rule) == (1, LOADING)


async def test_versions_that_follow_each_other_quickly_are_loaded_one_after_the_other_and_the_last_one_wins() -> None:
    async with running_world() as world:
        loading = Loading(world)
        await world.invoke()
        await move(world, V2)
        assert (await world.invoke()).executed_version == 1
        await move(world, V3)
        for _ in range(5):
            assert (await world.invoke()).executed_version == 1
        assert (len(loading.asked(2)), len(loading.asked(3))) == (1, 0)
        loading.is_loaded.set()
        await answered_by(world, 3)
        assert len(loading.asked(3)) == 1
