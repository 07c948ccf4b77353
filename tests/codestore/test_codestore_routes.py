"""Which versions run, and telling others when that changes."""

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from stoker_codestore.codestore import running_codestore
from stoker_codestore.watches import RouteChange, Watches
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.v1 import versions_pb2
from stoker_service.channels import open_channel
from stoker_service.errors import ErrorKind, StokerError

from tests.codestore.world import ANN, BOB, CODE, WITHIN_S, World, failure_of, running_world, settings_of, sha256
from tests.postgresql import BINARIES, USER, PostgreSql


async def read(watch: Any) -> tuple[str, str]:
    change: Any = await watch.read()
    return change.tenant, change.function


async def test_a_route_has_all_that_a_host_needs(world: World) -> None:
    await world.upload()
    await world.create("hello")
    version = (await world.publish("hello", environment={"A": "b"}, memory_mib=256)).version
    response = await world.resolve("ann", "hello", "1")
    spec = codestore_pb2.VersionSpec(
        uid=version.uid,
        tenant="ann",
        function="hello",
        number=1,
        artifact_sha256=sha256(CODE),
        artifact_size_bytes=len(CODE),
        runtime=versions_pb2.RUNTIME_PYTHON3,
        handler="app.handler",
        memory_mib=256,
        timeout_s=30,
        environment={"A": "b"},
        tmp_mib=64,
        concurrency=1,
    )
    assert list(response.routes) == [codestore_pb2.WeightedSpec(spec=spec, weight=100)]


async def test_a_qualifier_is_a_number_or_an_alias(world: World) -> None:
    await world.deploy("hello", versions=3)
    await world.point("hello", "canary", (3, 5), (1, 95))
    assert await world.resolved("ann", "hello", "2") == [(2, 100)]
    assert await world.resolved("ann", "hello", "live") == [(3, 100)]
    assert await world.resolved("ann", "hello", "canary") == [(3, 5), (1, 95)]


NOWHERE = [
    ("ann", "missing", "live", "FUNCTION_NOT_FOUND"),
    ("bob", "hello", "live", "FUNCTION_NOT_FOUND"),
    ("a\0nn", "hello", "live", "FUNCTION_NOT_FOUND"),
    ("ann", "hel\0lo", "live", "FUNCTION_NOT_FOUND"),
    ("ann", "hello", "missing", "ALIAS_NOT_FOUND"),
    ("ann", "hello", "li\0ve", "ALIAS_NOT_FOUND"),
    ("ann", "hello", "2", "VERSION_NOT_FOUND"),
    ("ann", "hello", "0", "VERSION_NOT_FOUND"),
    ("ann", "hello", "9" * 40, "VERSION_NOT_FOUND"),
]


async def test_what_is_not_there_says_so(world: World) -> None:
    await world.deploy("hello")
    for tenant, function, qualifier, reason in NOWHERE:
        error = await failure_of(world.resolve(tenant, function, qualifier))
        assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, reason)


async def test_each_change_of_a_route_is_told(world: World) -> None:
    await world.upload()
    watch = await world.watch()
    changes: list[Callable[[], Any]] = [
        lambda: world.create("hello"),
        lambda: world.publish("hello"),
        lambda: world.publish("hello", description="second"),
        lambda: world.create_alias("hello", "live", (1, 100)),
        lambda: world.point("hello", "live", (2, 100)),
        lambda: world.delete_version("hello", 1),
        lambda: world.delete_alias("hello", "live"),
        lambda: world.delete("hello"),
    ]
    for change in changes:
        await change()
        assert await read(watch) == ("ann", "hello")


async def test_a_change_is_told_after_it_can_be_read(world: World) -> None:
    await world.deploy("hello", versions=2)
    watch = await world.watch()
    for number in (1, 2, 1, 2):
        call = world.point("hello", "live", (number, 100))
        await watch.read()
        assert await world.resolved("ann", "hello", "live") == [(number, 100)]
        await call


async def test_a_tenants_change_names_the_tenant(world: World) -> None:
    await world.deploy("hello", ANN)
    await world.deploy("hello", BOB)
    watch = await world.watch()
    await world.point("hello", "live", (1, 100), metadata=BOB)
    assert await read(watch) == ("bob", "hello")


async def test_watches_end_when_the_codestore_stops(tmp_path: Path, database_url: str) -> None:
    async with AsyncExitStack() as stack:
        codestore = running_codestore(settings_of(tmp_path, database_url, drain_s=600))
        server = await codestore.__aenter__()
        world = World(await stack.enter_async_context(open_channel(server.address)))
        watch = await world.watch()
        async with asyncio.timeout(WITHIN_S):
            await codestore.__aexit__(None, None, None)
        error = await failure_of(watch.read())
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "WATCH_ENDED")


async def test_other_codestores_on_one_postgresql_tell_their_changes(tmp_path: Path, postgresql_url: str) -> None:
    settings = settings_of(tmp_path, postgresql_url)
    async with running_world(settings) as one, running_world(settings) as another:
        await one.deploy("hello", versions=2)
        watches = [await one.watch(), await another.watch()]
        for world, number in ((one, 1), (another, 2), (one, 1)):
            await world.point("hello", "live", (number, 100))
            for watch in watches:
                assert await read(watch) == ("ann", "hello")
            assert await one.resolved("ann", "hello", "live") == await another.resolved("ann", "hello", "live")


async def test_watches_end_when_others_changes_cannot_be_heard(
    tmp_path: Path, postgresql_url: str, postgresql: PostgreSql
) -> None:
    async with running_world(settings_of(tmp_path, postgresql_url)) as world:
        await world.deploy("hello")
        watch = await world.watch()
        psql = [BINARIES[-1] / "psql", "-qh", postgresql.directory, "-U", USER, "-c"]
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'"
        subprocess.run([*psql, cut], check=True, timeout=30, stdout=subprocess.DEVNULL)  # noqa: ASYNC221 - short
        error = await failure_of(watch.read())
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "WATCH_ENDED")
        # The next begins when they are heard again.
        again = await world.watch()
        await world.point("hello", "live", (1, 100))
        assert await read(again) == ("ann", "hello")


async def test_a_watcher_that_is_too_slow_is_cut_off() -> None:
    watches = Watches(max_pending=3)
    watches.open()
    slow = watches.watch()
    assert await anext(slow) is None
    for number in range(3):
        watches.tell(RouteChange("ann", f"f{number}"))
        watches.tell(RouteChange("ann", "f0"))  # which it will be told of once
    assert await anext(slow) == RouteChange("ann", "f0")
    for number in range(3, 6):
        watches.tell(RouteChange("ann", f"f{number}"))
    with pytest.raises(StokerError, match="more than 3 wait to be read"):
        await anext(slow)
