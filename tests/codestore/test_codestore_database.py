"""The database: its tables, and what is told while it is away."""

import asyncio
import subprocess
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from stoker_codestore.tables import Base
from stoker_service.errors import ErrorKind
from stoker_service.sql import open_engine

from tests.codestore.beside import execute
from tests.codestore.conftest import make_tables
from tests.codestore.world import World, failure_of, running_world, settings_of
from tests.postgresql import BINARIES, USER, PostgreSql


async def test_the_migrations_make_the_tables_that_are_used(database_url: str) -> None:
    engine = open_engine(database_url)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_codestores_that_start_at_once_make_the_tables_once(postgresql: PostgreSql, tmp_path: Path) -> None:
    for url in (postgresql.make_database(), f"sqlite+aiosqlite:///{tmp_path}/new.db"):
        await asyncio.gather(*(make_tables(url) for _ in range(3)))


async def expect_unavailable(world: World) -> None:
    for call in (world.get("hello"), world.create("new"), world.publish("hello"), world.resolve("ann", "hello", "1")):
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert error.retry_after_s == 1
    error = await failure_of(world.upload())
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def test_a_broken_sqlite_is_told_as_unavailable(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/codestore.db"
    async with running_world(settings_of(tmp_path, url)) as world:
        await world.deploy("hello")
        hidden = [f"ALTER TABLE {table} RENAME TO hidden_{table}" for table in ("functions", "contents")]
        shown = [f"ALTER TABLE hidden_{table} RENAME TO {table}" for table in ("functions", "contents")]
        await execute(tmp_path / "codestore.db", *hidden)
        await expect_unavailable(world)
        await execute(tmp_path / "codestore.db", *shown)
        assert await world.resolved("ann", "hello", "live") == [(1, 100)]


async def test_a_postgresql_that_is_away_is_told_as_unavailable(
    tmp_path: Path, postgresql_url: str, postgresql: PostgreSql
) -> None:
    name = postgresql_url.partition("@/")[2].partition("?")[0]

    def administer(*statements: str) -> None:
        commands = [part for statement in statements for part in ("-c", statement)]
        psql = [BINARIES[-1] / "psql", "-qh", postgresql.directory, "-U", USER, *commands]
        subprocess.run(psql, check=True, timeout=30, stdout=subprocess.DEVNULL)

    async with running_world(settings_of(tmp_path, postgresql_url)) as world:
        await world.deploy("hello")
        administer(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608 - the name is ours
        )
        try:
            await expect_unavailable(world)
        finally:
            administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await world.resolved("ann", "hello", "live") == [(1, 100)]
