"""How many containers of which versions are to be kept loaded, as what is set and where aliases point have it."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias, cast

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.alias_history import Share
from stoker_codestore.aliases import ALL, shares_of
from stoker_codestore.database import Database
from stoker_codestore.signing_keys import Proof
from stoker_codestore.tables import AliasRow, ContentRow, FunctionRow, VersionRow
from stoker_codestore.versions import Version, version_of
from stoker_codestore.watches import Watches

LIVE = "live"
AT_ONCE = 500
"""How many functions are read in one transaction when a watch begins."""

FunctionKey: TypeAlias = tuple[str, str]
"""A tenant, and a function of it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A version of which containers are kept loaded, with what a host needs to fetch its code."""

    version: Version
    artifact_size_bytes: int
    containers: int


@dataclass(frozen=True, slots=True)
class Target:
    """How many containers a function is to have."""

    maximum: int
    """How many invocations may run at once; 0 for as many as the tenant may."""
    provisioned: tuple[Kept, ...]
    """By the versions' numbers."""

    @property
    def outline(self) -> tuple[int, tuple[tuple[str, int, Proof | None], ...]]:
        """What tells it from another target of the function; versions never change, but for who vouches for them."""
        return self.maximum, tuple((kept.version.uid, kept.containers, kept.version.proof) for kept in self.provisioned)


NOTHING = Target(0, ())
"""The target of a function without settings, and of one that is no more."""


def containers_by_version(provisioned: Iterable[tuple[int, Sequence[Share]]]) -> Mapping[int, int]:
    """How many containers of each version are to be kept, by the versions' numbers.

    Of what an alias has, each of its two versions gets its share, rounded up, so that the smaller one is warm as well.
    Where several settings lead to one version, the highest counts: each says how many there are to be at the least.

    Args:
        provisioned: For each setting how many it says, and where it leads.
    """
    kept: dict[int, int] = {}
    for containers, shares in provisioned:
        for share in shares:
            part = -(-containers * share.weight // ALL)
            if part:
                kept[share.version] = max(part, kept.get(share.version, 0))
    return dict(sorted(kept.items()))


class ConcurrencyTargets:
    """The targets of all functions."""

    def __init__(self, database: Database, watches: Watches) -> None:
        self._database = database
        self._watches = watches

    async def watch(self) -> AsyncGenerator[tuple[FunctionKey, Target] | None]:
        """Yields each target there is, then None, then each that changes, as it is then.

        Raises:
            StokerError: WATCH_ENDED, or DATABASE_UNAVAILABLE.
        """
        told: dict[FunctionKey, object] = {}
        async with aclosing(self._watches.watch()) as changes:
            async for change in changes:
                if change is None:
                    # Changes are heard of by now, so that none is missed between what is read here and them.
                    async for key, target in self._all():
                        told[key] = target.outline
                        yield key, target
                    yield None
                    continue
                key = change.tenant, change.function
                async with self._database.transaction() as session:
                    named = FunctionRow.tenant == change.tenant, FunctionRow.name == change.function
                    target = (await _read(session, *named)).get(key, NOTHING)
                if target.outline != told.get(key, NOTHING.outline):
                    told[key] = target.outline
                    yield key, target
                if target == NOTHING:
                    told.pop(key, None)

    async def _all(self) -> AsyncGenerator[tuple[FunctionKey, Target]]:
        after = ""
        while True:
            async with self._database.transaction() as session:
                query = select(FunctionRow.uid).where(_HAS_SETTING, FunctionRow.uid > after)
                uids = list(await session.scalars(query.order_by(FunctionRow.uid).limit(AT_ONCE)))
                targets = await _read(session, FunctionRow.uid.in_(uids))
            for key, target in targets.items():
                if target != NOTHING:
                    yield key, target
            if len(uids) < AT_ONCE:
                return
            after = uids[-1]


_HAS_SETTING = or_(
    FunctionRow.provisioned > 0,
    FunctionRow.maximum > 0,
    exists().where(AliasRow.function_uid == FunctionRow.uid, AliasRow.provisioned > 0),
)


async def _read(session: AsyncSession, *which: ColumnElement[bool]) -> Mapping[FunctionKey, Target]:
    """The targets of some functions."""
    # One statement, so that each function's aliases and versions are those of one moment.
    found = await session.execute(
        select(FunctionRow, AliasRow, VersionRow, ContentRow.size_bytes)
        .outerjoin(
            AliasRow,
            (AliasRow.function_uid == FunctionRow.uid)
            & or_(AliasRow.provisioned > 0, (AliasRow.name == LIVE) & (FunctionRow.provisioned > 0)),
        )
        .outerjoin(
            VersionRow,
            (VersionRow.function_uid == FunctionRow.uid)
            & or_(VersionRow.number == AliasRow.version, VersionRow.number == AliasRow.second_version),
        )
        .outerjoin(ContentRow, ContentRow.sha256 == VersionRow.artifact_sha256)
        .where(*which)
    )
    functions: dict[str, _Found] = {}
    # The joins are outer ones: a function without such aliases is there once, with None in their place.
    rows = cast("Iterable[tuple[FunctionRow, AliasRow | None, VersionRow | None, int]]", found)
    for function, alias, version, size_bytes in rows:
        of_function = functions.setdefault(function.uid, _Found(function, {}, {}))
        if alias is not None and version is not None:
            of_function.aliases[alias.name] = alias
            of_function.versions[version.number] = version, size_bytes
    return {(each.function.tenant, each.function.name): _target(each) for each in functions.values()}


@dataclass(frozen=True, slots=True)
class _Found:
    function: FunctionRow
    aliases: dict[str, AliasRow]
    versions: dict[int, tuple[VersionRow, int]]


def _target(found: _Found) -> Target:
    provisioned = [(alias.provisioned, shares_of(alias)) for alias in found.aliases.values()]
    if live := found.aliases.get(LIVE):
        provisioned.append((found.function.provisioned, shares_of(live)))
    kept: list[Kept] = []
    for number, containers in containers_by_version(provisioned).items():
        row, size_bytes = found.versions[number]
        kept.append(Kept(version_of(row), size_bytes, containers))
    return Target(found.function.maximum, tuple(kept))
