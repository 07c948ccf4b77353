"""Transactions, with a bound, and with errors that a caller understands."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from stoker_codestore import errors

log = structlog.get_logger()

DATABASE_S = 10.0
"""How long the database may take for one request, in seconds."""

AWAY = (DBAPIError, PoolTimeoutError, TimeoutError, OSError)
"""What a database that does not answer raises."""


class Database:
    """The database of the codestore."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        """A transaction, which is committed unless the context's body raises.

        Raises:
            IntegrityError: A row that must be the only one of its kind is not.
            StokerError: DATABASE_UNAVAILABLE.
        """
        try:
            async with asyncio.timeout(DATABASE_S), self._sessions.begin() as session:
                yield session
        except IntegrityError:
            raise
        except AWAY as error:
            log.error("database.failed", exc_info=error)
            raise errors.database_unavailable() from error


def new_id() -> str:
    """A uid or an etag: unique for ever."""
    return uuid.uuid4().hex


def now() -> datetime:
    """The present time."""
    return datetime.now(UTC)


def in_utc(time: datetime) -> datetime:
    """A time that was read. SQLite keeps no time zone; what is written there is UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
