"""Rollouts, in the database.

Whatever moves a rollout locks its function's row first, as all that moves an alias does, and looks again at what is
there then. So it does not matter how many codestores look after rollouts, nor when one of them dies.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from stoker_service.errors import StokerError

from stoker_codestore import errors, rollout_plan
from stoker_codestore.alias_history import KEPT as CHANGES_KEPT
from stoker_codestore.alias_history import Cause, Share, changes_before
from stoker_codestore.aliases import ALL, Alias, point, shares_of
from stoker_codestore.database import Database, new_id, now
from stoker_codestore.functions import find_function, lock_function
from stoker_codestore.outcomes import Outcomes
from stoker_codestore.rollout_plan import Plan, Progress
from stoker_codestore.rollout_rows import (
    UNDER_WAY,
    Rollout,
    check_none_under_way,
    new_row,
    rollout_of,
    under_way,
    write,
)
from stoker_codestore.rollout_verdict import Evidence
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import AliasRow, FunctionRow, RolloutRow, VersionRow
from stoker_codestore.version_loads import loads_of
from stoker_codestore.versions import HIGHEST_NUMBER

KEPT = 100
"""How many rollouts of a function are kept."""
ITSELF = "rollout"
"""Who moves an alias in the name of its rollout, for the history."""
LOAD_FAILURES = 2
"""How often in a row the new version must have failed to load."""

Move: TypeAlias = Callable[[Progress, float], Progress]


@dataclass(frozen=True, slots=True)
class Counted:
    """Calls of one version that an alias sent there by a share of `weight` percent."""

    version_uid: str
    weight: int
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class _Found:
    tenant: str
    function: str
    rollout: Rollout
    load_failure: str


class Rollouts:
    """The rollouts of all functions."""

    def __init__(self, database: Database, changes: RouteChanges, clock: Callable[[], datetime] = now) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def start(self, tenant: str, function: str, alias: str, to_version: int, plan: Plan, cause: Cause) -> Rollout:
        """Begins a rollout with its first step.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, VERSION_NOT_FOUND, ALIAS_SPLIT, ROLLOUT_UNDER_WAY,
                INVALID_FIELD, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, function) as session:
            function_uid = (await lock_function(session, tenant, function)).uid
            alias_row = await _alias_row(session, function_uid, function, alias)
            await check_none_under_way(session, function_uid, function, alias)
            [*others, share] = shares_of(alias_row)
            if others:
                raise errors.alias_split(function, alias)
            if share.version == to_version:
                raise errors.invalid_field("rollout.to_version", f"`{alias}` names version {to_version} already")
            of_versions = VersionRow.number.in_([share.version, to_version])
            query = select(VersionRow.number, VersionRow.uid).where(
                VersionRow.function_uid == function_uid, of_versions
            )
            uids = dict((await session.execute(query)).all())
            if to_version not in uids:
                raise errors.version_not_found(function, str(to_version), "rollout.to_version")
            time = self._clock()
            rollout = Rollout(
                uid=new_id(),
                alias=alias,
                from_version=share.version,
                from_uid=uids[share.version],
                to_version=to_version,
                to_uid=uids[to_version],
                plan=plan,
                progress=rollout_plan.begin(plan, time.timestamp()),
                judged_before=0,
                evidence=Evidence(),
                reason="",
                actor=cause.actor,
                create_time=time,
            )
            session.add(new_row(rollout, function_uid))
            await _forget_old(session, function_uid)
            cause = Cause(cause.actor, f"rollout to version {to_version} begun: {rollout.weight} %")
            await point(session, function, alias_row, rollout.shares, cause)
        return rollout

    async def pause(self, tenant: str, function: str, uid: str, cause: Cause) -> Rollout:
        """Holds a rollout; one that is held already stays so.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ROLLOUT_NOT_FOUND, ROLLOUT_ENDED, or DATABASE_UNAVAILABLE.
        """
        return await self._move(tenant, function, uid, rollout_plan.paused, f"paused by {_who(cause)}", cause)

    async def resume(self, tenant: str, function: str, uid: str, cause: Cause) -> Rollout:
        """Lets a rollout go on; raises as `pause` does."""
        return await self._move(tenant, function, uid, rollout_plan.resumed, "", cause)

    async def abort(self, tenant: str, function: str, uid: str, cause: Cause) -> Rollout:
        """Ends a rollout, whose old version gets everything; raises as `pause` does."""
        reason = cause.reason or f"aborted by {_who(cause)}"
        return await self._move(tenant, function, uid, rollout_plan.aborted, reason, cause)

    async def get(self, tenant: str, function: str, uid: str) -> Rollout:
        """Returns a rollout.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ROLLOUT_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            function_uid = (await find_function(session, tenant, function)).uid
            return rollout_of(await _row(session, function_uid, function, uid))

    async def list_before(self, tenant: str, function: str, alias: str, before: str, limit: int) -> Sequence[Rollout]:
        """A function's rollouts, newest first, those of one alias where one is given, `limit` at the most.

        Args:
            tenant: The tenant.
            function: The function.
            alias: The alias; empty for all.
            before: The uid of the last that was listed already; empty for none.
            limit: How many.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, INVALID_PAGE_TOKEN, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            function_uid = (await find_function(session, tenant, function)).uid
            query = select(RolloutRow).where(RolloutRow.function_uid == function_uid)
            if alias:
                query = query.where(RolloutRow.alias == alias)
            if before:
                last = await session.get(RolloutRow, before)
                if last is None or last.function_uid != function_uid:
                    raise errors.page_token_invalid()
                is_same_time = (RolloutRow.create_time == last.create_time) & (RolloutRow.uid < last.uid)
                query = query.where(or_(RolloutRow.create_time < last.create_time, is_same_time))
            newest_first = query.order_by(RolloutRow.create_time.desc(), RolloutRow.uid.desc())
            return [rollout_of(row) for row in await session.scalars(newest_first.limit(limit))]

    async def roll_back(self, tenant: str, function: str, alias: str, version: int, cause: Cause) -> Alias:
        """Points an alias to an earlier version, and ends the rollout that is under way.

        Args:
            tenant: The tenant.
            function: The function.
            alias: The alias.
            version: The version's number; 0 for the one before, see `version_before`.
            cause: Who asks for it, and why.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, VERSION_NOT_FOUND, NO_EARLIER_VERSION, or
                DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, function) as session:
            function_uid = (await lock_function(session, tenant, function)).uid
            alias_row = await _alias_row(session, function_uid, function, alias)
            row = await under_way(session, function_uid, alias)
            if row is not None:
                version = version or row.from_version
                rollout = rollout_of(row)
                progress = rollout_plan.aborted(rollout.progress, self._clock().timestamp())
                reason = cause.reason or f"rolled back to version {version} by {_who(cause)}"
                write(row, replace(rollout, progress=progress, reason=reason))
            version = version or await _version_before(session, alias_row, function)
            if version not in await _numbers(session, function_uid):
                raise errors.version_not_found(function, str(version), "version")
            cause = Cause(cause.actor, cause.reason or f"rolled back to version {version}")
            return await point(session, function, alias_row, [Share(version, ALL)], cause)

    async def observe(self, tenant: str, function: str, alias: str, counted: Sequence[Counted]) -> None:
        """Adds what a frontend has counted to the rollout that it belongs to, if any, and lets that go on.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            named = FunctionRow.tenant == tenant, FunctionRow.name == function
            of_function = select(FunctionRow.uid).where(*named).scalar_subquery()
            of_alias = RolloutRow.function_uid == of_function, RolloutRow.alias == alias
            query = select(RolloutRow).where(*of_alias, RolloutRow.state.in_(UNDER_WAY)).with_for_update()
            row = await session.scalar(query)
            if row is None:
                return
            rollout = rollout_of(row)
            old = _sum(counted, rollout.from_uid, ALL - rollout.weight)
            new = _sum(counted, rollout.to_uid, rollout.weight)
            rollout = replace(rollout, evidence=rollout.evidence.with_calls(old, new, rollout.weight))
            write(row, rollout)
        if rollout.going_on(self._clock().timestamp(), "") is not None:
            await self._go_on(_Found(tenant, function, rollout, ""))

    async def go_on(self) -> None:
        """Lets all rollouts go on for which something is due.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            found = await session.execute(
                select(FunctionRow.tenant, FunctionRow.name, RolloutRow)
                .join(FunctionRow, FunctionRow.uid == RolloutRow.function_uid)
                .where(RolloutRow.state.in_(UNDER_WAY))
            )
            rollouts = [(tenant, function, rollout_of(row)) for tenant, function, row in found]
            failures = await _load_failures(session, [rollout for _, _, rollout in rollouts])
        for tenant, function, rollout in rollouts:
            failure = failures.get(rollout.to_uid, "")
            if rollout.going_on(self._clock().timestamp(), failure) is not None:
                await self._go_on(_Found(tenant, function, rollout, failure))

    async def _go_on(self, found: _Found) -> None:
        """Lets a rollout go on, unless another codestore has done so meanwhile, or somebody has ended it."""
        try:
            async with self._changes.changing(found.tenant, found.function) as session:
                function_uid = (await lock_function(session, found.tenant, found.function)).uid
                row = await _row(session, function_uid, found.function, found.rollout.uid)
                rollout = rollout_of(row).going_on(self._clock().timestamp(), found.load_failure)
                if rollout is None:
                    return
                write(row, rollout)
                what = f"rolled back: {rollout.reason}" if rollout.reason else f"{rollout.weight} %"
                cause = Cause(ITSELF, f"rollout to version {rollout.to_version}: {what}")
                alias_row = await _alias_row(session, function_uid, found.function, rollout.alias)
                await point(session, found.function, alias_row, rollout.shares, cause)
        except StokerError as error:
            # The function, with all that belongs to it, has been deleted since it was looked for.
            if error.reason not in ("FUNCTION_NOT_FOUND", "ROLLOUT_NOT_FOUND"):
                raise

    async def _move(self, tenant: str, function: str, uid: str, move: Move, reason: str, cause: Cause) -> Rollout:
        async with self._changes.changing(tenant, function) as session:
            function_uid = (await lock_function(session, tenant, function)).uid
            row = await _row(session, function_uid, function, uid)
            before = rollout_of(row)
            if not before.progress.state.is_under_way:
                raise errors.rollout_ended(before.progress.state.value)
            progress = move(before.progress, self._clock().timestamp())
            if progress == before.progress:
                return before
            rollout = replace(before, progress=progress, reason=reason)
            write(row, rollout)
            if rollout.weight != before.weight:
                alias_row = await _alias_row(session, function_uid, function, rollout.alias)
                cause = Cause(cause.actor, f"rollout to version {rollout.to_version}: {reason}")
                await point(session, function, alias_row, rollout.shares, cause)
        return rollout


def version_before(
    pointed: Sequence[Share], before: Sequence[Sequence[Share]], there_are: Collection[int]
) -> int | None:
    """The version to roll back to: the last with a lower number that the alias named alone.

    Lower, so that who rolls back twice does not come to the version that was rolled back first.

    Args:
        pointed: Where the alias points.
        before: Where it pointed before, the last first.
        there_are: The versions that have not been deleted.
    """
    current = max(pointed, key=lambda share: share.weight).version
    for shares in before:
        if len(shares) == 1 and shares[0].version < current and shares[0].version in there_are:
            return shares[0].version
    return None


async def _version_before(session: AsyncSession, alias_row: AliasRow, function: str) -> int:
    changes = await changes_before(session, alias_row.function_uid, alias_row.name, HIGHEST_NUMBER, CHANGES_KEPT)
    numbers = await _numbers(session, alias_row.function_uid)
    found = version_before(shares_of(alias_row), [change.before for change in changes], numbers)
    if found is None:
        raise errors.no_earlier_version(function, alias_row.name)
    return found


async def _numbers(session: AsyncSession, function_uid: str) -> Collection[int]:
    """The numbers of a function's versions."""
    return set(await session.scalars(select(VersionRow.number).where(VersionRow.function_uid == function_uid)))


async def _alias_row(session: AsyncSession, function_uid: str, function: str, alias: str) -> AliasRow:
    row = await session.get(AliasRow, (function_uid, alias))
    if row is None:
        raise errors.alias_not_found(function, alias)
    return row


async def _row(session: AsyncSession, function_uid: str, function: str, uid: str) -> RolloutRow:
    row = await session.get(RolloutRow, uid, with_for_update=True)
    if row is None or row.function_uid != function_uid:
        raise errors.rollout_not_found(function, uid)
    return row


async def _forget_old(session: AsyncSession, function_uid: str) -> None:
    """Deletes what is over the number of rollouts that are kept, the oldest first."""
    of_function = RolloutRow.function_uid == function_uid
    newest_first = select(RolloutRow.uid).where(of_function).order_by(RolloutRow.create_time.desc())
    if surplus := list(await session.scalars(newest_first.offset(KEPT))):
        await session.execute(delete(RolloutRow).where(RolloutRow.uid.in_(surplus), RolloutRow.state.not_in(UNDER_WAY)))


async def _load_failures(session: AsyncSession, rollouts: Sequence[Rollout]) -> Mapping[str, str]:
    """Why the code of new versions cannot be loaded, by their uids, where it was tried since their rollouts began."""
    begun = {rollout.to_uid: rollout.create_time for rollout in rollouts}
    return {
        uid: f"{load.error.type}: {load.error.message}"
        for uid, load in (await loads_of(session, begun)).items()
        if load.error is not None and load.failures >= LOAD_FAILURES and load.time >= begun[uid]
    }


def _who(cause: Cause) -> str:
    return cause.actor or "somebody"


def _sum(counted: Sequence[Counted], version_uid: str, weight: int) -> Outcomes:
    """What a version's calls came to, of those that were sent by a certain weight."""
    fitting = [each.outcomes for each in counted if (each.version_uid, each.weight) == (version_uid, weight)]
    return sum(fitting, Outcomes())
