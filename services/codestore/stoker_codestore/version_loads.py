"""How loading versions went, in the database."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.database import Database, in_utc, now
from stoker_codestore.tables import VersionLoadRow, VersionRow

MAX_TYPE = 256
MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class LoadError:
    """Why a version's code could not be loaded."""

    kind: int
    """A value of `stoker.v1.FunctionErrorKind`."""
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class VersionLoad:
    """How loading a version ended last."""

    error: LoadError | None
    """None where it was loaded."""
    failures: int
    """How often it has failed in a row."""
    time: datetime
    retry_time: datetime


class VersionLoads:
    """How loading all versions went last."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, version_uid: str, error: LoadError | None, failures: int, retry_s: float) -> None:
        """Notes how an attempt ended. A version that is no more is no error.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        try:
            async with self._database.transaction() as session:
                if await session.get(VersionRow, version_uid) is None:
                    return
                row = await session.get(VersionLoadRow, version_uid) or VersionLoadRow(version_uid=version_uid)
                row.kind = error.kind if error else 0
                row.type = _text(error.type, MAX_TYPE) if error else ""
                row.message = _text(error.message, MAX_MESSAGE) if error else ""
                row.failures = max(failures, 1) if error else 0
                row.time = now()
                row.retry_time = row.time + timedelta(seconds=retry_s)
                session.add(row)
        except IntegrityError:
            # Another frontend told the same at the same time, or the version has just been deleted.
            return


async def loads_of(session: AsyncSession, version_uids: Collection[str]) -> Mapping[str, VersionLoad]:
    """How loading some versions ended last, by uid; without those that were never tried."""
    if not version_uids:
        return {}
    rows = await session.scalars(select(VersionLoadRow).where(VersionLoadRow.version_uid.in_(version_uids)))
    return {row.version_uid: _load(row) for row in rows}


def _load(row: VersionLoadRow) -> VersionLoad:
    error = LoadError(row.kind, row.type, row.message) if row.failures else None
    return VersionLoad(error, row.failures, in_utc(row.time), in_utc(row.retry_time))


def _text(text: str, longest: int) -> str:
    # Databases hold no NUL character; what functions say may have any.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:longest]
