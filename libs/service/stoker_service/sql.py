"""SQL databases: SQLite on one machine, PostgreSQL when it is outgrown, told apart by the URL alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from asyncpg.exceptions import InterfaceError, PostgresError  # pyright: ignore[reportMissingTypeStubs] - it has none
from sqlalchemy import URL, Connection, event, func, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

BUSY_TIMEOUT_S = 10
MIGRATION_TIMEOUT_S = 120
MIGRATION_LOCK = 7_401_402_403
"""PostgreSQL's advisory lock that processes take which bring a database to the newest revision: one after the other."""


AWAY = (DBAPIError, PoolTimeoutError, TimeoutError, OSError, PostgresError, InterfaceError)
"""What a database that does not answer raises. The last two come bare where PostgreSQL refuses a connection."""


class DatabaseUnusable(ConnectionError):
    """The database cannot be opened, or not be brought to the newest revision."""


def open_engine(url: str) -> AsyncEngine:
    """Opens an engine on `url`: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`.

    SQLite's directory is made; it runs in WAL mode, with foreign keys, and waits 10 s for another writer.

    Raises:
        DatabaseUnusable: The directory cannot be made.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=10, max_overflow=10, pool_timeout=10, pool_pre_ping=True)
    if parsed.database:
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(parsed, error) from error
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, and only before writing: then two readers that both go on to write
    # fail at once instead of waiting for each other.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def migrate(engine: AsyncEngine, script_location: Path) -> None:
    """Brings the database to the newest revision of the Alembic scripts in `script_location`.

    Several processes may do so at once: one does it, the others find it done.

    Raises:
        DatabaseUnusable: It cannot be reached, refuses, or takes longer than two minutes.
    """
    upgrade = _upgrade_to_head(script_location)
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            await connection.run_sync(upgrade)
    except AWAY as error:
        raise _unusable(engine.url, error) from error


def _unusable(url: URL, error: Exception) -> DatabaseUnusable:
    reason = str(error.__cause__ or error) or type(error).__name__
    return DatabaseUnusable(f"cannot use the database {url.render_as_string(hide_password=True)}: {reason}")


def _upgrade_to_head(script_location: Path) -> Callable[[Connection], None]:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(script_location).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    return upgrade
