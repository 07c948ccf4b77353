"""Which version runs: aliases, the memory of them, and a codestore that is away."""

from collections import Counter
from typing import Any

import pytest
from stoker_protos.v1 import aliases_pb2, functions_pb2
from stoker_service.errors import ErrorKind

from tests.frontend.codestore_peer import spec_of
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import World, failure_of, running_world

LIVE = ("ann", "hello", "live")


async def version_of(invocation: Any) -> int:
    return (await invocation).executed_version


async def point_live_at(world: World, number: int) -> None:
    alias = aliases_pb2.Alias(
        name="functions/hello/aliases/live", routes=[aliases_pb2.WeightedVersion(version=number, weight=100)]
    )
    request = aliases_pb2.UpdateAliasRequest(alias=alias)
    await world.aliases.UpdateAlias(request, timeout=WITHIN_S, metadata=world.keys["ann"])


async def test_weights_share_the_invocations_out() -> None:
    async with running_world() as world:
        world.codestore.routes[LIVE] = [(spec_of("ann", "hello", 1), 80), (spec_of("ann", "hello", 2), 20)]
        ran = Counter([await version_of(world.invoke()) for _ in range(200)])
    # Beyond 5 standard deviations of a fair draw.
    assert 10 < ran[2] < 70
    assert ran[1] + ran[2] == 200


async def test_a_qualifier_names_an_alias_or_a_version() -> None:
    async with running_world() as world:
        world.codestore.put(spec_of("ann", "hello", 3), "canary")
        world.codestore.put(spec_of("ann", "hello", 2), "2")
        assert await version_of(world.invoke(qualifier="canary")) == 3
        assert await version_of(world.invoke(qualifier="2")) == 2
        assert await version_of(world.invoke()) == 1


async def test_a_function_without_live_tells_how_to_get_one() -> None:
    async with running_world() as world:
        world.codestore.put(spec_of("ann", "draft"), "1")
        error = await failure_of(world.invoke(function="draft"))
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "ALIAS_NOT_FOUND")
    assert "stoker deploy" in error.message


async def test_an_own_change_counts_from_the_next_invocation_on() -> None:
    async with running_world() as world:
        assert await version_of(world.invoke()) == 1
        await point_live_at(world, 2)
        assert await version_of(world.invoke()) == 2


async def test_a_change_elsewhere_is_told_by_the_watch() -> None:
    async with running_world() as world:
        assert await version_of(world.invoke()) == 1
        world.codestore.put(spec_of("ann", "hello", 2))
        world.codestore.tell("bob", "hello")
        assert await version_of(world.invoke()) == 1, "it is not looked up again for another's change"
        world.codestore.tell("ann", "hello")
        while await version_of(world.invoke()) == 1:
            pass
    assert world.codestore.resolved[LIVE] == 2


async def test_while_the_codestore_is_away_what_was_right_is_used() -> None:
    async with running_world() as world:
        await world.invoke()
        await world.codestore_server.end()
        assert await version_of(world.invoke()) == 1
        assert await version_of(world.invoke()) == 1
        unknown = await failure_of(world.invoke(tenant="bob"))
        forwarded = await failure_of(
            world.functions.ListFunctions(
                functions_pb2.ListFunctionsRequest(), timeout=WITHIN_S, metadata=world.keys["ann"]
            )
        )
        assert (unknown.kind, unknown.reason) == (ErrorKind.UNAVAILABLE, "CODESTORE_UNAVAILABLE")
        assert (forwarded.kind, forwarded.reason) == (ErrorKind.UNAVAILABLE, "CODESTORE_UNAVAILABLE")
        assert forwarded.retry_after_s is not None
        # While it was away, nobody could tell of this change; so it is asked when it is back.
        world.codestore.put(spec_of("ann", "hello", 2))
        await world.codestore_server.begin()
        await world.codestore.journal.wait_for(lambda: bool(world.codestore.watchers))
        while await version_of(world.invoke()) == 1:
            pass


async def test_a_route_grows_too_old_to_be_used_without_the_codestore() -> None:
    async with running_world(route_stale_s=0.0) as world:
        await world.invoke()
        await world.codestore_server.end()
        error = await failure_of(_until_refused(world))
    assert error.reason == "CODESTORE_UNAVAILABLE"


async def _until_refused(world: World) -> None:
    # The watch may break a moment later than the server ends.
    while True:
        await world.invoke()


@pytest.mark.parametrize("times", [1, 20])
async def test_a_missing_function_is_asked_for_again_each_time(times: int) -> None:
    async with running_world() as world:
        for _ in range(times):
            assert (await failure_of(world.invoke(function="later"))).reason == "FUNCTION_NOT_FOUND"
        world.codestore.put(spec_of("ann", "later"))
        assert await version_of(world.invoke(function="later")) == 1
