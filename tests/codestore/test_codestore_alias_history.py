"""What aliases pointed to before."""

from typing import Any

import pytest
from stoker_codestore import alias_history
from stoker_protos.v1 import aliases_pb2
from stoker_service.errors import ErrorKind
from stoker_service.metadata import ACTOR

from tests.codestore.world import ANN, BOB, WITHIN_S, Metadata, World, alias_of, failure_of

Pairs = list[tuple[int, int]]


def listing(world: World, alias: str, metadata: Metadata = ANN, size: int = 0, token: str = "") -> Any:
    request = aliases_pb2.ListAliasChangesRequest(
        parent=f"functions/hello/aliases/{alias}", page_size=size, page_token=token
    )
    return world.aliases.ListAliasChanges(request, metadata=metadata, timeout=WITHIN_S)


def pairs(routes: Any) -> Pairs:
    return [(route.version, route.weight) for route in routes]


async def history(world: World, alias: str = "live") -> list[tuple[Pairs, Pairs]]:
    return [(pairs(each.routes_before), pairs(each.routes_after)) for each in (await listing(world, alias)).changes]


async def test_each_change_of_an_alias_is_told_the_newest_first(world: World) -> None:
    await world.deploy("hello", versions=3)
    await world.point("hello", "live", (3, 90), (1, 10))
    await world.delete_alias("hello", "live")
    await world.create_alias("hello", "live", (2, 100))
    assert await history(world) == [
        ([], [(2, 100)]),
        ([(3, 90), (1, 10)], []),
        ([(3, 100)], [(3, 90), (1, 10)]),
        ([], [(3, 100)]),
    ]


async def test_a_change_tells_who_made_it_and_why(world: World) -> None:
    await world.deploy("hello", versions=2)
    request = aliases_pb2.UpdateAliasRequest(alias=alias_of("hello", "live", (1, 100)), reason="2 is too slow")
    await world.aliases.UpdateAlias(request, metadata=(*ANN, (ACTOR, "0123456789abcdef")), timeout=WITHIN_S)
    change = (await listing(world, "live")).changes[0]
    assert (change.actor, change.reason) == ("0123456789abcdef", "2 is too slow")
    assert change.time == (await world.alias("hello", "live")).alias.update_time


async def test_pointing_an_alias_where_it_points_already_is_no_change(world: World) -> None:
    await world.deploy("hello")
    await world.point("hello", "live", (1, 100))
    assert len(await history(world)) == 1


async def test_a_refused_change_leaves_no_trace(world: World) -> None:
    await world.deploy("hello")
    await failure_of(world.point("hello", "live", (7, 100)))
    await failure_of(world.point("hello", "live", (1, 100), etag="stale"))
    assert len(await history(world)) == 1


async def test_changes_are_listed_page_by_page(world: World) -> None:
    await world.deploy("hello", versions=2)
    for version in (1, 2, 1):
        await world.point("hello", "live", (version, 100))
    first = await listing(world, "live", size=3)
    second = await listing(world, "live", size=3, token=first.next_page_token)
    assert [pairs(each.routes_after) for each in (*first.changes, *second.changes)] == [
        [(1, 100)],
        [(2, 100)],
        [(1, 100)],
        [(2, 100)],
    ]
    assert (len(first.changes), second.next_page_token) == (3, "")


async def test_only_the_last_changes_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = 20
    monkeypatch.setattr(alias_history, "KEPT", kept)
    await world.deploy("hello", versions=2)
    for turn in range(kept + 5):
        await world.point("hello", "live", (1 + turn % 2, 100))
    changes = (await listing(world, "live", size=1000)).changes
    assert len(changes) == kept
    assert pairs(changes[0].routes_after) == [(1 + (kept + 4) % 2, 100)]


async def test_a_function_made_again_has_no_history(world: World) -> None:
    await world.deploy("hello", versions=2)
    await world.delete("hello")
    await world.deploy("hello")
    assert await history(world) == [([], [(1, 100)])]


async def test_tenants_see_only_their_own_history(world: World) -> None:
    await world.deploy("hello")
    error = await failure_of(listing(world, "live", BOB))
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND")
