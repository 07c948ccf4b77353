"""The versions that aliases pointed to before, in the database. What they may do is decided in `predecessors.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.alias_history import changes_before
from stoker_codestore.predecessors import Earlier, Predecessor, earlier_than, predecessor, relevant
from stoker_codestore.rollover_terms import RolloverPolicy, Terms
from stoker_codestore.tables import AliasRow, ContentRow, FunctionRow, VersionRow
from stoker_codestore.version_loads import loads_of
from stoker_codestore.versions import HIGHEST_NUMBER, Version, version_of

LOOKED_BACK = 32
"""How many changes of an alias are looked at."""


@dataclass(frozen=True, slots=True)
class Previous:
    """A version that may answer for another, or of which it is told why not."""

    instead_of: str
    """The uid of the other."""
    predecessor: Predecessor
    artifact_size_bytes: int
    remaining_s: float
    """For how long it may, in seconds."""
    is_needed: bool
    """Whether an alias still points to it."""


async def previous_of(
    session: AsyncSession, function: FunctionRow, alias: str, targets: Sequence[Version], now: datetime
) -> Sequence[Previous]:
    """What an alias pointed to before each of the versions that it points to; no version that has been deleted."""
    changes = await changes_before(session, function.uid, alias, HIGHEST_NUMBER, LOOKED_BACK)
    earlier = {target.uid: earlier_than(target.number, changes) for target in targets}
    numbers = {each.number for found in earlier.values() for each in found}
    if not numbers:
        return ()
    there = await session.execute(
        select(VersionRow, ContentRow.size_bytes)
        .join(ContentRow, ContentRow.sha256 == VersionRow.artifact_sha256)
        .where(VersionRow.function_uid == function.uid, VersionRow.number.in_(numbers))
    )
    versions = {row.number: (version_of(row), size_bytes) for row, size_bytes in there}
    uids = {version.uid for version, _ in versions.values()} | earlier.keys()
    loads = await loads_of(session, uids)
    needed = await _needed(session, function.uid)
    terms = Terms(RolloverPolicy(function.rollover), function.max_staleness_s)
    previous: list[Previous] = []
    for target in targets:
        found = [
            predecessor(target, versions[each.number][0], each.replaced_time, terms)
            for each in earlier[target.uid]
            if _is_of_use(each, versions, loads_failing={uid for uid, load in loads.items() if load.failures})
        ]
        is_loaded = target.uid in loads and not loads[target.uid].failures
        for each in relevant(found, now, is_loaded=is_loaded):
            number = each.version.number
            remaining_s = max(0.0, (each.until - now).total_seconds())
            previous.append(Previous(target.uid, each, versions[number][1], remaining_s, number in needed))
    return previous


def _is_of_use(each: Earlier, versions: dict[int, tuple[Version, int]], loads_failing: set[str]) -> bool:
    """Whether a version is still there, and not known to fail to load itself."""
    return each.number in versions and versions[each.number][0].uid not in loads_failing


async def _needed(session: AsyncSession, function_uid: str) -> set[int]:
    """The versions that the function's aliases point to."""
    pointed = await session.execute(
        select(AliasRow.version, AliasRow.second_version).where(AliasRow.function_uid == function_uid)
    )
    return {number for pair in pointed for number in pair if number is not None}
