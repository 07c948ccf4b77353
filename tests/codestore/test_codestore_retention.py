"""Versions that are kept, and those that are not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from stoker_codestore.database import Database
from stoker_codestore.retention import Retention, superfluous
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import AliasChangeRow, FunctionRow
from stoker_codestore.version_sweep import VersionSweep
from stoker_codestore.watches import Watches
from stoker_protos.v1 import versions_pb2
from stoker_service.sql import open_engine

from tests.codestore.world import ANN, WITHIN_S, World, running_world, settings_of


async def numbers_of(world: World, name: str = "hello") -> list[int]:
    request = versions_pb2.ListVersionsRequest(parent=f"functions/{name}")
    response: Any = await world.versions.ListVersions(request, metadata=ANN, timeout=WITHIN_S)
    return sorted(version.number for version in response.versions)


@given(st.sets(st.integers(1, 30)), st.integers(0, 10), st.sets(st.integers(1, 30)))
def test_the_newest_and_the_named_are_kept_and_all_others_go(numbers: set[int], kept: int, named: set[int]) -> None:
    going = superfluous(numbers, kept, named)
    assert going == sorted(going)
    assert not set(going) & named
    newest = sorted(numbers)[len(numbers) - min(kept, len(numbers)) :]
    assert set(going) == numbers - set(newest) - named


async def test_publishing_deletes_what_is_too_old_unless_an_alias_names_it(tmp_path: Path, database_url: str) -> None:
    async with running_world(settings_of(tmp_path, database_url, versions_kept=3)) as world:
        await world.deploy("hello")
        await world.publish("hello", description="2")
        await world.point("hello", "beta", (2, 100))
        for number in range(3, 8):
            await world.publish("hello", description=str(number))
        assert await numbers_of(world) == [1, 2, 5, 6, 7]
        assert await world.resolved("ann", "hello", "live") == [(1, 100)]
        # What it pointed to a moment ago is kept: somebody may want to go back.
        await world.point("hello", "live", (7, 100))
        for number in range(8, 12):
            await world.publish("hello", description=str(number))
        assert await numbers_of(world) == [1, 2, 7, 9, 10, 11]


async def test_a_sweep_deletes_what_nothing_has_named_for_long_and_whoever_watches_is_told(
    tmp_path: Path, database_url: str
) -> None:
    async with running_world(settings_of(tmp_path, database_url)) as world:
        for name in ("hello", "other"):
            await world.deploy(name, versions=2)
            await world.point(name, "live", (1, 100))
            await world.point(name, "live", (2, 100))
            for number in range(3, 7):
                await world.publish(name, description=str(number))
        engine = open_engine(database_url)
        try:
            database = Database(engine)
            async with database.transaction() as session:
                await session.execute(update(FunctionRow).where(FunctionRow.name == "hello").values(versions_kept=2))
            watches = Watches()
            watches.open()
            told: list[str] = []
            changes = RouteChanges(database, watches, None)
            sweep = VersionSweep(database, changes, Retention(100, timedelta(hours=1)))
            watch = watches.watch()
            assert await anext(watch) is None
            assert await sweep.sweep() is False
            assert await numbers_of(world) == [1, 2, 5, 6]
            assert await numbers_of(world, "other") == [1, 2, 3, 4, 5, 6]
            change = await anext(watch)
            assert change is not None
            told.append(change.function)
            await watch.aclose()
            assert told == ["hello"]
            # Long ago: what `live` named then is not kept any more, but what it names now is.
            long_ago = datetime.now(UTC) - timedelta(hours=2)
            async with database.transaction() as session:
                await session.execute(update(AliasChangeRow).values(time=long_ago))
            await sweep.sweep()
            assert await numbers_of(world) == [2, 5, 6]
        finally:
            await engine.dispose()
