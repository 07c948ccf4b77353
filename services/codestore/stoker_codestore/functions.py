"""Functions, in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from sqlalchemy import ColumnElement, ScalarSelect, Select, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore import errors
from stoker_codestore.database import Database, in_utc, new_id, now
from stoker_codestore.quotas import Quotas, usage_of
from stoker_codestore.rollover_terms import RolloverPolicy, Terms
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import AliasChangeRow, AliasRow, FunctionRow, RolloutRow, VersionLoadRow, VersionRow


class Setting(Enum):
    """What may be changed of a function, by the names that clients have for it."""

    DESCRIPTION = "description"
    VERSIONS_KEPT = "versions_kept"
    ROLLOVER_POLICY = "rollover_policy"
    MAX_STALENESS_S = "max_staleness_s"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set for a function, whatever its version."""

    description: str = ""
    versions_kept: int = 0
    """How many of its newest versions are kept; 0 for as many as the codestore's setting says."""
    rollover: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class Function:
    """A named function of a tenant."""

    name: str
    uid: str
    settings: Settings
    latest_version: int
    """The highest number of its versions, 0 where it has none."""
    create_time: datetime
    update_time: datetime
    etag: str


class Functions:
    """The functions of all tenants."""

    def __init__(self, database: Database, changes: RouteChanges, quotas: Quotas) -> None:
        self._database = database
        self._changes = changes
        self._quotas = quotas

    async def create(self, tenant: str, name: str, settings: Settings) -> Function:
        """Makes a function without versions.

        Raises:
            StokerError: FUNCTION_EXISTS, QUOTA_EXCEEDED, or DATABASE_UNAVAILABLE.
        """
        time = now()
        row = FunctionRow(
            uid=new_id(),
            tenant=tenant,
            name=name,
            description=settings.description,
            versions_kept=settings.versions_kept,
            rollover=settings.rollover.policy.value,
            max_staleness_s=settings.rollover.max_staleness_s,
            last_number=0,
            create_time=time,
            update_time=time,
            etag=new_id(),
        )
        try:
            async with self._changes.changing(tenant, name) as session:
                quota = await self._quotas.lock(session, tenant)
                if await session.scalar(select(FunctionRow.uid).where(*_named(tenant, name))) is not None:
                    raise errors.function_exists(name)
                quota.check_function(tenant, await usage_of(session, tenant))
                session.add(row)
        except IntegrityError as error:
            raise errors.function_exists(name) from error
        return _function(row, 0)

    async def get(self, tenant: str, name: str) -> Function:
        """Returns a function.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            found = (await session.execute(_with_latest().where(*_named(tenant, name)))).one_or_none()
        if found is None:
            raise errors.function_not_found(name)
        return _function(*found)

    async def list_after(self, tenant: str, after: str, limit: int) -> Sequence[Function]:
        """A tenant's functions whose names come after `after`, by name, `limit` at the most.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        query = _with_latest().where(FunctionRow.tenant == tenant, FunctionRow.name > after)
        async with self._database.transaction() as session:
            rows = (await session.execute(query.order_by(FunctionRow.name).limit(limit))).all()
        return [_function(*row) for row in rows]

    async def update(
        self, tenant: str, name: str, settings: Settings, changed: Collection[Setting], etag: str
    ) -> Function:
        """Changes some of what is set for a function; if an etag is given, only while the function still has it.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ETAG_MISMATCH, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, name) as session:
            row = await lock_function(session, tenant, name)
            if etag and etag != row.etag:
                raise errors.etag_mismatch("function.etag")
            for setting in changed:
                match setting:
                    case Setting.DESCRIPTION:
                        row.description = settings.description
                    case Setting.VERSIONS_KEPT:
                        row.versions_kept = settings.versions_kept
                    case Setting.ROLLOVER_POLICY:
                        row.rollover = settings.rollover.policy.value
                    case Setting.MAX_STALENESS_S:
                        row.max_staleness_s = settings.rollover.max_staleness_s
            row.update_time = now()
            row.etag = new_id()
            latest = (await session.execute(select(_LATEST).where(FunctionRow.uid == row.uid))).scalar_one()
        return _function(row, latest)

    async def delete(self, tenant: str, name: str, etag: str) -> None:
        """Deletes a function with its versions and aliases; if an etag is given, only while it still has it.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ETAG_MISMATCH, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, name) as session:
            row = await lock_function(session, tenant, name)
            if etag and etag != row.etag:
                raise errors.etag_mismatch("etag")
            versions = select(VersionRow.uid).where(VersionRow.function_uid == row.uid)
            await session.execute(delete(VersionLoadRow).where(VersionLoadRow.version_uid.in_(versions)))
            await session.execute(delete(RolloutRow).where(RolloutRow.function_uid == row.uid))
            await session.execute(delete(AliasChangeRow).where(AliasChangeRow.function_uid == row.uid))
            await session.execute(delete(AliasRow).where(AliasRow.function_uid == row.uid))
            await session.execute(delete(VersionRow).where(VersionRow.function_uid == row.uid))
            await session.delete(row)


async def find_function(session: AsyncSession, tenant: str, name: str) -> FunctionRow:
    """The row of a function, to read.

    Raises:
        StokerError: FUNCTION_NOT_FOUND.
    """
    row = await session.scalar(select(FunctionRow).where(*_named(tenant, name)))
    if row is None:
        raise errors.function_not_found(name)
    return row


async def lock_function(session: AsyncSession, tenant: str, name: str) -> FunctionRow:
    """The row of a function, which nobody else changes until the transaction ends, nor its versions and aliases.

    Raises:
        StokerError: FUNCTION_NOT_FOUND.
    """
    row = await session.scalar(select(FunctionRow).where(*_named(tenant, name)).with_for_update())
    if row is None:
        raise errors.function_not_found(name)
    return row


def _named(tenant: str, name: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return FunctionRow.tenant == tenant, FunctionRow.name == name


_LATEST: ScalarSelect[int] = (
    select(func.coalesce(func.max(VersionRow.number), 0))
    .where(VersionRow.function_uid == FunctionRow.uid)
    .correlate(FunctionRow)
    .scalar_subquery()
)


def _with_latest() -> Select[FunctionRow, int]:
    return select(FunctionRow, _LATEST)


def _function(row: FunctionRow, latest_version: int) -> Function:
    return Function(
        row.name,
        row.uid,
        Settings(row.description, row.versions_kept, Terms(RolloverPolicy(row.rollover), row.max_staleness_s)),
        latest_version,
        in_utc(row.create_time),
        in_utc(row.update_time),
        row.etag,
    )
