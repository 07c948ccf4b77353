"""Both databases and both kinds of stores, made anew for each test."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from stoker_codestore.codestore import MIGRATIONS
from stoker_codestore.tables import Base
from stoker_service.sql import migrate, open_engine

from tests.codestore.s3 import S3, running_s3
from tests.codestore.world import World, running_world, settings_of
from tests.postgresql import BINARIES, USER, PostgreSql

# For tables with a few rows that is faster than TRUNCATE.
EMPTY = "; ".join(f"DELETE FROM {table}" for table in reversed(Base.metadata.sorted_tables))  # noqa: S608 - our names


async def make_tables(url: str) -> None:
    engine = open_engine(url)
    await migrate(engine, MIGRATIONS)
    await engine.dispose()


@pytest.fixture(scope="session")
def shared_postgresql_url(postgresql: PostgreSql) -> str:
    """A database with tables, that tests use one after the other."""
    url = postgresql.make_database()
    asyncio.run(make_tables(url))
    return url


@pytest.fixture
def postgresql_url(postgresql: PostgreSql, shared_postgresql_url: str) -> str:
    """A database with empty tables."""
    name = shared_postgresql_url.partition("@/")[2].partition("?")[0]
    psql = [BINARIES[-1] / "psql", "-qh", postgresql.directory, "-U", USER]
    subprocess.run([*psql, "-c", EMPTY, name], check=True, timeout=30)
    return shared_postgresql_url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with empty tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(make_tables(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """A database of each kind, with empty tables."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    shutil.copy(sqlite_template, tmp_path / "codestore.db")
    return f"sqlite+aiosqlite:///{tmp_path}/codestore.db"


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncGenerator[World]:
    """A codestore on each kind of database."""
    async with running_world(settings_of(tmp_path, database_url)) as running:
        yield running


@pytest.fixture(scope="session")
def s3() -> Generator[S3]:
    """An S3 server, started when a test first asks for it."""
    with running_s3() as server:
        yield server


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.thorough)])
def artifacts_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store of each kind."""
    if request.param == "directory":
        return f"file://{tmp_path}/artifacts"
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"{server.url}/{tmp_path.name}"
