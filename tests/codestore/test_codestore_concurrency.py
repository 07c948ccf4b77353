"""How many invocations functions may run, and how many containers are kept for them."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from stoker_codestore.alias_history import Share
from stoker_codestore.concurrency_targets import AT_ONCE, containers_by_version
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_service.errors import ErrorKind

from tests.codestore.beside import execute
from tests.codestore.world import BOB, World, bring_back, failure_of, running_world, settings_of, target_of


async def read(watch: Any) -> tuple[str, str, int, dict[int, int]]:
    return target_of(await watch.read())


async def test_nothing_is_set_before_somebody_sets_it(world: World) -> None:
    await world.deploy("hello")
    setting = (await world.setting("hello")).concurrency
    assert (setting.name, setting.provisioned, setting.maximum) == ("functions/hello/concurrency", 0, 0)
    assert not setting.HasField("loaded")
    assert await world.settings("hello") == []


async def test_a_functions_and_an_aliass_settings_are_kept_apart_and_taken_back_with_0(world: World) -> None:
    await world.deploy("hello")
    await world.point("hello", "canary", (1, 100))
    assert (await world.set("hello", provisioned=2, maximum=50)).concurrency.maximum == 50
    changed = (await world.set("hello/aliases/canary", provisioned=1, loaded=7)).concurrency
    assert (changed.provisioned, changed.HasField("loaded")) == (1, False)
    of_function = ("functions/hello/concurrency", 2, 50)
    assert await world.settings("hello") == [of_function, ("functions/hello/aliases/canary/concurrency", 1, 0)]
    await world.set("hello/aliases/canary", provisioned=0)
    assert await world.settings("hello") == [of_function]
    await world.set("hello", maximum=50)
    assert await world.settings("hello") == [("functions/hello/concurrency", 0, 50)]


async def test_a_setting_outlives_the_moving_of_its_alias_and_ends_with_it(world: World) -> None:
    await world.deploy("hello", versions=2)
    await world.set("hello/aliases/live", provisioned=3)
    await world.point("hello", "live", (1, 100))
    assert (await world.setting("hello/aliases/live")).concurrency.provisioned == 3
    await world.delete_alias("hello", "live")
    await world.point("hello", "live", (1, 100))
    assert (await world.setting("hello/aliases/live")).concurrency.provisioned == 0


async def test_a_setting_ends_with_its_function(world: World) -> None:
    await world.deploy("hello")
    await world.set("hello", maximum=5)
    await world.delete("hello")
    await world.create("hello")
    assert await world.settings("hello") == []


async def test_what_cannot_be_set_is_refused_by_name(world: World) -> None:
    await world.deploy("hello")
    error = await failure_of(world.set("hello/aliases/live", provisioned=1, maximum=1))
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "concurrency.maximum",
    )
    for owner, reason in (("gone", "FUNCTION_NOT_FOUND"), ("hello/aliases/gone", "ALIAS_NOT_FOUND")):
        assert (await failure_of(world.set(owner, provisioned=1))).reason == reason
        assert (await failure_of(world.setting(owner))).reason == reason
    assert (await failure_of(world.settings("gone"))).reason == "FUNCTION_NOT_FOUND"
    assert (await failure_of(world.set("hello", BOB, maximum=1))).reason == "FUNCTION_NOT_FOUND"
    assert (await failure_of(world.setting("hello", BOB))).reason == "FUNCTION_NOT_FOUND"


async def test_a_watch_tells_all_there_is_and_then_what_changes(world: World) -> None:
    await world.deploy("hello", versions=2)
    await world.deploy("other", BOB)
    await world.deploy("plain")
    await world.set("hello", provisioned=2, maximum=9)
    await world.set("other/aliases/live", BOB, provisioned=1)
    watch, first = await world.watch_targets()
    assert sorted(first) == [("ann", "hello", 9, {2: 2}), ("bob", "other", 0, {1: 1})]
    # What changes nothing of that is not told.
    await world.publish("hello", description="the next")
    await world.point("plain", "live", (1, 100))
    await world.point("hello", "live", (1, 50), (2, 50))
    assert await read(watch) == ("ann", "hello", 9, {1: 1, 2: 1})
    await world.point("hello", "canary", (3, 100))
    await world.set("hello/aliases/canary", provisioned=4)
    assert await read(watch) == ("ann", "hello", 9, {1: 1, 2: 1, 3: 4})
    await world.delete_alias("hello", "canary")
    assert await read(watch) == ("ann", "hello", 9, {1: 1, 2: 1})
    await world.set("hello", maximum=9)
    assert await read(watch) == ("ann", "hello", 9, {})
    await world.set("plain", maximum=1)
    assert await read(watch) == ("ann", "plain", 1, {})
    await world.delete("plain")
    assert await read(watch) == ("ann", "plain", 0, {})


async def test_a_provisioned_version_is_told_with_all_that_a_host_needs(world: World) -> None:
    await world.deploy("hello")
    await world.set("hello", provisioned=1)
    [route] = (await world.resolve("ann", "hello", "live")).routes
    watch: Any = world.targets.WatchConcurrency(codestore_pb2.WatchConcurrencyRequest(), timeout=20)
    [kept] = (await watch.read()).function.provisioned
    assert kept.spec == route.spec


async def test_a_function_whose_live_is_missing_has_nothing_provisioned_until_it_is_there(world: World) -> None:
    await world.upload()
    await world.create("hello")
    await world.publish("hello")
    await world.set("hello", provisioned=2)
    watch, first = await world.watch_targets()
    assert first == []
    await world.point("hello", "live", (1, 100))
    assert await read(watch) == ("ann", "hello", 0, {1: 2})


async def test_changes_by_one_codestore_are_told_by_another(tmp_path: Path, postgresql_url: str) -> None:
    settings = settings_of(tmp_path, postgresql_url)
    async with running_world(settings) as one, running_world(settings) as another:
        await one.deploy("hello", versions=2)
        watches = [(await world.watch_targets())[0] for world in (one, another)]
        for world, maximum in ((one, 1), (another, 2)):
            await world.set("hello", provisioned=1, maximum=maximum)
            for watch in watches:
                assert await read(watch) == ("ann", "hello", maximum, {2: 1})
        await another.point("hello", "live", (1, 100))
        for watch in watches:
            assert await read(watch) == ("ann", "hello", 2, {1: 1})


async def test_a_watch_begins_also_with_more_functions_than_are_read_at_once(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/codestore.db"
    async with running_world(settings_of(tmp_path, url)) as world:
        await world.create("first")
        await execute(
            tmp_path / "codestore.db",
            f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {2 * AT_ONCE}) "  # noqa: S608 - a constant
            "INSERT INTO functions (uid, tenant, name, description, last_number, create_time, update_time, etag, "
            "provisioned, maximum) SELECT printf('%032d', n), tenant, 'f' || n, description, last_number, "
            "create_time, update_time, etag, 0, 7 FROM functions, numbers",
        )
        _, first = await world.watch_targets()
        assert len(first) == 2 * AT_ONCE
        assert {maximum for _, _, maximum, _ in first} == {7}


async def test_a_watch_that_cannot_read_ends_with_an_error(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/codestore.db"
    async with running_world(settings_of(tmp_path, url)) as world:
        await world.deploy("hello")
        watch, _ = await world.watch_targets()
        await execute(tmp_path / "codestore.db", "ALTER TABLE contents RENAME TO hidden")
        await world.set("hello", maximum=1)
        assert (await failure_of(watch.read())).reason == "DATABASE_UNAVAILABLE"


async def test_what_was_there_before_runs_one_at_a_time_and_has_nothing_set(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/codestore.db"
    async with running_world(settings_of(tmp_path, url)) as world:
        await world.deploy("hello")
    await bring_back(url, "0001")
    async with running_world(settings_of(tmp_path, url)) as world:
        assert (await world.version("hello", 1)).version.concurrency == 1
        assert (await world.resolve("ann", "hello", "live")).routes[0].spec.concurrency == 1
        assert await world.settings("hello") == []


shares = st.integers(1, 99).map(lambda weight: (Share(1, weight), Share(2, 100 - weight)))


@given(st.lists(st.tuples(st.integers(0, 1000), shares | st.just((Share(1, 100),)))))
def test_each_setting_has_its_containers_and_no_version_more_than_one_of_them_says(provisioned: Any) -> None:
    kept = containers_by_version(provisioned)
    for containers, to in provisioned:
        assert sum(kept.get(share.version, 0) for share in to) >= containers
        assert all(kept.get(share.version, 0) > 0 for share in to if containers)
    highest = max((containers for containers, _ in provisioned), default=0)
    assert all(0 < containers <= highest for containers in kept.values())
