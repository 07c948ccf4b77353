"""Which versions an invocation may run."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore import errors, names
from stoker_codestore.alias_history import Share
from stoker_codestore.aliases import ALL, shares_of
from stoker_codestore.database import Database, now
from stoker_codestore.functions import find_function
from stoker_codestore.previous_versions import Previous, previous_of
from stoker_codestore.tables import AliasRow, ContentRow, VersionRow
from stoker_codestore.versions import Version, version_of


@dataclass(frozen=True, slots=True)
class Route:
    """A version, with what a host needs to fetch its code, and its share of the invocations in percent."""

    version: Version
    artifact_size_bytes: int
    weight: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a qualifier stands for."""

    routes: Sequence[Route]
    previous: Sequence[Previous]
    """For an alias: the versions that it pointed to before, for each route the one replaced last first."""


class Routes:
    """The routes of all functions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def resolve(self, tenant: str, function: str, qualifier: str) -> Resolved:
        """The versions that a qualifier, a number or an alias, stands for: one, or two; with those before them.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, VERSION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        if not (names.is_name(tenant) and names.is_name(function)):
            raise errors.function_not_found(function)
        async with self._database.transaction() as session:
            row = await find_function(session, tenant, function)
            uid, previous = row.uid, ()
            if names.is_number(qualifier):
                routes = await _of_version(session, uid, int(qualifier))
            elif names.is_name(qualifier):
                routes = await _of_alias(session, uid, qualifier)
                previous = await previous_of(session, row, qualifier, [route.version for route in routes], now())
            else:
                routes = []
        if not routes and qualifier.isdecimal():
            raise errors.version_not_found(function, qualifier)
        if not routes:
            raise errors.alias_not_found(function, qualifier)
        return Resolved(routes, previous)


async def _of_version(session: AsyncSession, function_uid: str, number: int) -> list[Route]:
    found = await session.execute(
        select(VersionRow, ContentRow.size_bytes)
        .join(ContentRow, ContentRow.sha256 == VersionRow.artifact_sha256)
        .where(VersionRow.function_uid == function_uid, VersionRow.number == number)
    )
    return [Route(version_of(row), size_bytes, ALL) for row, size_bytes in found]


async def _of_alias(session: AsyncSession, function_uid: str, name: str) -> list[Route]:
    # One statement, so that the alias and its versions are those of one moment.
    found = await session.execute(
        select(AliasRow, VersionRow, ContentRow.size_bytes)
        .join(
            VersionRow,
            (VersionRow.function_uid == AliasRow.function_uid)
            & or_(VersionRow.number == AliasRow.version, VersionRow.number == AliasRow.second_version),
        )
        .join(ContentRow, ContentRow.sha256 == VersionRow.artifact_sha256)
        .where(AliasRow.function_uid == function_uid, AliasRow.name == name)
    )
    routes: dict[Share, Route] = {}
    shares: tuple[Share, ...] = ()
    for alias, version, size_bytes in found:
        shares = shares_of(alias)
        share = next(share for share in shares if share.version == version.number)
        routes[share] = Route(version_of(version), size_bytes, share.weight)
    return [routes[share] for share in shares]
