"""Aliases."""

import asyncio
from typing import Any

import grpc
from stoker_protos.v1 import aliases_pb2
from stoker_service.errors import ErrorKind, StokerError

from tests.codestore.world import ANN, BOB, WITHIN_S, World, failure_of


def shares_of(alias: aliases_pb2.Alias) -> list[tuple[int, int]]:
    return [(route.version, route.weight) for route in alias.routes]


async def test_an_alias_is_as_it_was_made(world: World) -> None:
    await world.deploy("hello", versions=2)
    made = (await world.create_alias("hello", "canary", (2, 30), (1, 70))).alias
    assert made == (await world.alias("hello", "canary")).alias
    assert (made.name, shares_of(made)) == ("functions/hello/aliases/canary", [(2, 30), (1, 70)])
    assert made.etag
    assert made.HasField("update_time")


async def test_a_name_can_be_given_once(world: World) -> None:
    await world.deploy("hello")
    error = await failure_of(world.create_alias("hello", "live", (1, 100)))
    assert (error.kind, error.reason, error.field) == (ErrorKind.ALREADY_EXISTS, "ALIAS_EXISTS", "alias.name")


async def test_an_alias_is_pointed_elsewhere(world: World) -> None:
    await world.deploy("hello", versions=3)
    before = (await world.alias("hello", "live")).alias
    for shares in ([(1, 50), (3, 50)], [(2, 100)], [(3, 1), (2, 99)]):
        after = (await world.point("hello", "live", *shares, allow_missing=False)).alias
        assert shares_of(after) == shares
        assert after == (await world.alias("hello", "live")).alias
        assert after.etag != before.etag
        before = after


async def test_only_a_missing_alias_that_may_be_is_made(world: World) -> None:
    await world.deploy("hello")
    error = await failure_of(world.point("hello", "new", (1, 100), allow_missing=False))
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "ALIAS_NOT_FOUND")
    await world.point("hello", "new", (1, 100), allow_missing=True)
    assert await world.resolved("ann", "hello", "new") == [(1, 100)]


async def test_a_stale_etag_changes_nothing(world: World) -> None:
    await world.deploy("hello", versions=2)
    stale = (await world.alias("hello", "live")).alias.etag
    await world.point("hello", "live", (1, 100), etag=stale)
    # An etag says that the caller has seen an alias, so one that is missing does not match either.
    for alias in ("live", "missing"):
        error = await failure_of(world.point("hello", alias, (2, 100), etag=stale))
        assert (error.kind, error.reason, error.field) == (ErrorKind.ABORTED, "ETAG_MISMATCH", "alias.etag")
    assert await world.resolved("ann", "hello", "live") == [(1, 100)]


async def test_an_alias_names_only_versions_that_exist(world: World) -> None:
    await world.deploy("hello", versions=2)
    await world.deploy("other", versions=3)
    for call, index in (
        (world.create_alias("hello", "new", (3, 100)), 0),
        (world.point("hello", "live", (1, 10), (3, 90)), 1),
        (world.point("hello", "live", (2**62, 100)), 0),
    ):
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "VERSION_NOT_FOUND")
        assert error.field == f"alias.routes[{index}].version"
    assert await world.resolved("ann", "hello", "live") == [(2, 100)]


async def test_weights_that_make_no_sense_are_refused(world: World) -> None:
    await world.deploy("hello", versions=2)
    senseless: list[list[tuple[int, int]]] = [
        [],
        [(1, 50)],
        [(1, 50), (2, 51)],
        [(1, 50), (1, 50)],
        [(1, 0), (2, 100)],
        [(1, 30), (2, 30), (3, 40)],
    ]
    for shares in senseless:
        error = await failure_of(world.point("hello", "live", *shares))
        assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD")
        assert error.field.startswith("alias.routes")


async def test_aliases_are_listed_by_name_page_by_page(world: World) -> None:
    await world.deploy("hello")
    for alias in ("b", "a", "z-0", "z0"):
        await world.create_alias("hello", alias, (1, 100))

    def page(token: str) -> Any:
        request = aliases_pb2.ListAliasesRequest(parent="functions/hello", page_size=3, page_token=token)
        return world.aliases.ListAliases(request, metadata=ANN, timeout=WITHIN_S)

    first = await page("")
    second = await page(first.next_page_token)
    names = [alias.name.rpartition("/")[2] for alias in [*first.aliases, *second.aliases]]
    assert names == ["a", "b", "live", "z-0", "z0"]
    assert (len(first.aliases), second.next_page_token) == (3, "")


async def test_a_deleted_alias_is_gone(world: World) -> None:
    await world.deploy("hello")
    await world.delete_alias("hello", "live")
    for call in (world.alias("hello", "live"), world.delete_alias("hello", "live")):
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "ALIAS_NOT_FOUND")


async def test_tenants_move_only_their_own(world: World) -> None:
    await world.deploy("hello", ANN, versions=2)
    await world.deploy("hello", BOB, versions=2)
    await world.point("hello", "live", (1, 100), metadata=BOB)
    assert await world.resolved("ann", "hello", "live") == [(2, 100)]
    assert await world.resolved("bob", "hello", "live") == [(1, 100)]


async def test_no_alias_ever_names_a_version_that_is_deleted_meanwhile(world: World) -> None:
    await world.deploy("hello", versions=6)
    for number in range(1, 6):
        calls = [world.point("hello", f"to-{number}", (number, 100)), world.delete_version("hello", number)]
        pointed, deleted = [await call.code() is grpc.StatusCode.OK for call in calls]
        assert pointed != deleted
        if pointed:
            assert await world.resolved("ann", "hello", f"to-{number}") == [(number, 100)]


async def test_the_same_alias_made_at_once_is_made_once(world: World) -> None:
    await world.deploy("hello")

    async def make() -> StokerError | None:
        call = world.create_alias("hello", "new", (1, 100))
        return await failure_of(call) if await call.code() is not grpc.StatusCode.OK else None

    failures = [failure for failure in await asyncio.gather(*(make() for _ in range(6))) if failure]
    assert [failure.reason for failure in failures] == ["ALIAS_EXISTS"] * 5
