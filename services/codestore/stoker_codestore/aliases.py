"""Aliases, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore import errors
from stoker_codestore.alias_history import AliasChange, Cause, Share, changes_before, record
from stoker_codestore.database import Database, in_utc, new_id, now
from stoker_codestore.functions import find_function, lock_function
from stoker_codestore.rollout_rows import check_none_under_way
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import AliasRow, VersionRow
from stoker_codestore.version_loads import VersionLoad, loads_of

ALL = 100
"""The weights of an alias together."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name of one version, or of two."""

    name: str
    shares: tuple[Share, ...]
    update_time: datetime
    etag: str
    load_failure: tuple[int, VersionLoad] | None = None
    """The number of a version that it points to and that fails to load, with how that ended last."""


class Aliases:
    """The aliases of all functions."""

    def __init__(self, database: Database, changes: RouteChanges) -> None:
        self._database = database
        self._changes = changes

    async def create(self, tenant: str, function: str, name: str, shares: Sequence[Share], cause: Cause) -> Alias:
        """Makes an alias.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_EXISTS, VERSION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, function) as session:
            uid = (await lock_function(session, tenant, function)).uid
            if await session.get(AliasRow, (uid, name)) is not None:
                raise errors.alias_exists(function, name)
            return await point(session, function, AliasRow(function_uid=uid, name=name), shares, cause)

    async def update(
        self,
        tenant: str,
        function: str,
        name: str,
        shares: Sequence[Share],
        cause: Cause,
        *,
        etag: str,
        allow_missing: bool,
    ) -> Alias:
        """Points an alias elsewhere; if an etag is given, only while the alias still has it.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND (unless `allow_missing`, which makes it then),
                ETAG_MISMATCH, VERSION_NOT_FOUND, ROLLOUT_UNDER_WAY, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, function) as session:
            uid = (await lock_function(session, tenant, function)).uid
            row = await session.get(AliasRow, (uid, name))
            if row is None and not allow_missing:
                raise errors.alias_not_found(function, name)
            if etag and (row is None or etag != row.etag):
                raise errors.etag_mismatch("alias.etag")
            await check_none_under_way(session, uid, function, name)
            return await point(session, function, row or AliasRow(function_uid=uid, name=name), shares, cause)

    async def get(self, tenant: str, function: str, name: str) -> Alias:
        """Returns an alias.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            uid = (await find_function(session, tenant, function)).uid
            row = await session.get(AliasRow, (uid, name))
            if row is None:
                raise errors.alias_not_found(function, name)
            return (await _with_load_failures(session, uid, [row]))[0]

    async def list_after(self, tenant: str, function: str, after: str, limit: int) -> Sequence[Alias]:
        """A function's aliases whose names come after `after`, by name, `limit` at the most.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            uid = (await find_function(session, tenant, function)).uid
            query = select(AliasRow).where(AliasRow.function_uid == uid, AliasRow.name > after)
            rows = list(await session.scalars(query.order_by(AliasRow.name).limit(limit)))
            return await _with_load_failures(session, uid, rows)

    async def history_before(
        self, tenant: str, function: str, name: str, before: int, limit: int
    ) -> Sequence[AliasChange]:
        """What an alias pointed to, by its changes numbered below `before`, the newest first, `limit` at the most.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            uid = (await find_function(session, tenant, function)).uid
            return await changes_before(session, uid, name, before, limit)

    async def delete(self, tenant: str, function: str, name: str, cause: Cause) -> None:
        """Deletes an alias.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, ROLLOUT_UNDER_WAY, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, function) as session:
            uid = (await lock_function(session, tenant, function)).uid
            row = await session.get(AliasRow, (uid, name))
            if row is None:
                raise errors.alias_not_found(function, name)
            await check_none_under_way(session, uid, function, name)
            await record(session, uid, name, cause, shares_of(row), (), now())
            await session.delete(row)


async def point(session: AsyncSession, function: str, row: AliasRow, shares: Sequence[Share], cause: Cause) -> Alias:
    """Points an alias, new or not, to versions that must exist."""
    numbers = [share.version for share in shares]
    found = set(
        await session.scalars(
            select(VersionRow.number).where(VersionRow.function_uid == row.function_uid, VersionRow.number.in_(numbers))
        )
    )
    for index, number in enumerate(numbers):
        if number not in found:
            raise errors.version_not_found(function, str(number), f"alias.routes[{index}].version")
    before = shares_of(row) if inspect(row).persistent else ()
    row.version = shares[0].version
    row.weight = shares[0].weight
    row.second_version = shares[1].version if len(shares) > 1 else None
    row.update_time = now()
    row.etag = new_id()
    session.add(row)
    await record(session, row.function_uid, row.name, cause, before, shares, row.update_time)
    return _alias(row)


def _alias(row: AliasRow, load_failure: tuple[int, VersionLoad] | None = None) -> Alias:
    return Alias(row.name, shares_of(row), in_utc(row.update_time), row.etag, load_failure)


async def _with_load_failures(session: AsyncSession, function_uid: str, rows: Sequence[AliasRow]) -> Sequence[Alias]:
    """Some aliases of a function, each with what of it fails to load."""
    numbers = {share.version for row in rows for share in shares_of(row)}
    query = select(VersionRow.uid, VersionRow.number)
    found = await session.execute(query.where(VersionRow.function_uid == function_uid, VersionRow.number.in_(numbers)))
    by_uid = {row.uid: row.number for row in found}
    loads = {by_uid[uid]: load for uid, load in (await loads_of(session, by_uid.keys())).items() if load.failures}

    def failure_of(row: AliasRow) -> tuple[int, VersionLoad] | None:
        return next(((share.version, loads[share.version]) for share in shares_of(row) if share.version in loads), None)

    return [_alias(row, failure_of(row)) for row in rows]


def shares_of(row: AliasRow) -> tuple[Share, ...]:
    """Where an alias points."""
    first = Share(row.version, row.weight)
    return (first,) if row.second_version is None else (first, Share(row.second_version, ALL - row.weight))
