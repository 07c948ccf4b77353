"""Which versions of a function are kept.

The newest ones, as many as the function says; and whatever their age those that a rollout or an alias names, or has
named lately, as somebody may want to go back to them, and as callers may still be answered by them. Containers are
provisioned by way of aliases, so theirs are among these.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.rollout_plan import State
from stoker_codestore.tables import AliasChangeRow, AliasRow, FunctionRow, RolloutRow, VersionLoadRow, VersionRow

AT_ONCE = 200
"""How many versions of a function are deleted in one transaction; the others follow."""


def superfluous(numbers: Iterable[int], kept: int, named: Collection[int]) -> Sequence[int]:
    """Which versions are to go, the oldest first.

    Args:
        numbers: The numbers of all versions there are.
        kept: How many of the newest are kept.
        named: Those that something names.
    """
    older = sorted(numbers, reverse=True)[kept:]
    return [number for number in reversed(older) if number not in named]


@dataclass(frozen=True, slots=True)
class Retention:
    """What counts for all functions."""

    versions_kept: int
    """How many of a function's newest versions are kept where it says nothing."""
    alias_changes: timedelta
    """For how long an alias keeps the versions that it no longer names."""

    def kept_of(self, function: FunctionRow) -> int:
        """How many of a function's newest versions are kept."""
        return function.versions_kept or self.versions_kept

    async def superfluous(self, session: AsyncSession, function: FunctionRow, time: datetime) -> Sequence[int]:
        """The numbers of a function's superfluous versions, the oldest first, `AT_ONCE` at the most."""
        return await self._beyond(session, function, time, self.kept_of(function))

    async def apply(self, session: AsyncSession, function: FunctionRow, time: datetime) -> Sequence[int]:
        """Deletes a function's superfluous versions in a transaction that has locked it; returns their numbers."""
        going = await self.superfluous(session, function, time)
        await remove_versions(session, function.uid, going)
        return going

    async def make_room(self, session: AsyncSession, function: FunctionRow, time: datetime) -> None:
        """Deletes what will be superfluous when the transaction, which has locked a function, publishes a version."""
        going = await self._beyond(session, function, time, self.kept_of(function) - 1)
        await remove_versions(session, function.uid, going)

    async def _beyond(self, session: AsyncSession, function: FunctionRow, time: datetime, kept: int) -> Sequence[int]:
        numbers = list(await session.scalars(select(VersionRow.number).where(VersionRow.function_uid == function.uid)))
        if len(numbers) <= kept:
            return ()
        named = await _named(session, function.uid, time - self.alias_changes)
        return superfluous(numbers, kept, named)[:AT_ONCE]


async def remove_versions(session: AsyncSession, function_uid: str, numbers: Sequence[int]) -> None:
    """Deletes versions of a function with all that belongs to them, in a transaction that has locked the function."""
    if not numbers:
        return
    which = VersionRow.function_uid == function_uid, VersionRow.number.in_(numbers)
    uids = select(VersionRow.uid).where(*which)
    await session.execute(delete(VersionLoadRow).where(VersionLoadRow.version_uid.in_(uids)))
    await session.execute(delete(VersionRow).where(*which))


_UNDER_WAY = [state.value for state in State if state.is_under_way]


async def _named(session: AsyncSession, function_uid: str, since: datetime) -> set[int]:
    """The versions that a function's aliases and rollouts name, or that its aliases have named since then."""
    named: set[int | None] = set()
    aliases = select(AliasRow.version, AliasRow.second_version).where(AliasRow.function_uid == function_uid)
    for first, second in await session.execute(aliases):
        named |= {first, second}
    rollouts = select(RolloutRow.from_version, RolloutRow.to_version).where(
        RolloutRow.function_uid == function_uid, RolloutRow.state.in_(_UNDER_WAY)
    )
    for first, second in await session.execute(rollouts):
        named |= {first, second}
    changes = select(AliasChangeRow.routes_before).where(
        AliasChangeRow.function_uid == function_uid, AliasChangeRow.time >= since
    )
    for routes in await session.scalars(changes):
        named |= {version for version, _ in routes or ()}
    return {number for number in named if number is not None}
