"""Rollouts, as values and as rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore import errors, rollout_plan
from stoker_codestore.alias_history import Share
from stoker_codestore.database import in_utc
from stoker_codestore.outcomes import Outcomes
from stoker_codestore.rollout_plan import Plan, Progress, State
from stoker_codestore.rollout_verdict import Bet, Evidence
from stoker_codestore.tables import RolloutRow

UNDER_WAY = tuple(state.value for state in State if state.is_under_way)


@dataclass(frozen=True, slots=True)
class Rollout:
    """An alias's way from one version to another."""

    uid: str
    alias: str
    from_version: int
    from_uid: str
    to_version: int
    to_uid: str
    plan: Plan
    progress: Progress
    judged_before: int
    """How many calls of the new version had been judged when the step began."""
    evidence: Evidence
    reason: str
    """Why it ended or is held; empty while it runs."""
    actor: str
    """Who started it."""
    create_time: datetime

    @property
    def weight(self) -> int:
        """The new version's share in percent."""
        return rollout_plan.weight(self.plan, self.progress)

    @property
    def shares(self) -> tuple[Share, ...]:
        """Where the alias is to point: the old version first, so that growing weights move sessions one way only."""
        shares = Share(self.from_version, 100 - self.weight), Share(self.to_version, self.weight)
        return tuple(share for share in shares if share.weight)

    @property
    def judged(self) -> int:
        """How many calls of the new version have been judged since the step began."""
        return self.evidence.new.calls - self.judged_before

    def going_on(self, now_s: float, load_failure: str) -> "Rollout | None":
        """The rollout when it has taken the step, or gone back, that is due; None where nothing is.

        Args:
            now_s: The time, in seconds since 1970.
            load_failure: Why the new version's code cannot be loaded; empty where it can, as far as is known.
        """
        if not self.progress.state.is_under_way:
            return None
        if reason := found_against(self.evidence, load_failure):
            return self._rolled_back(reason, now_s)
        if not rollout_plan.is_due(self.plan, self.progress, now_s, self.judged):
            return None
        # Calls from now on are sent by other weights.
        judged = replace(self, evidence=self.evidence.ended())
        if reason := found_against(judged.evidence, load_failure):
            return judged._rolled_back(reason, now_s)
        progress = rollout_plan.stepped(self.plan, self.progress, now_s)
        return replace(judged, progress=progress, judged_before=judged.evidence.new.calls)

    def _rolled_back(self, reason: str, now_s: float) -> "Rollout":
        return replace(self, progress=rollout_plan.rolled_back(self.progress, now_s), reason=reason)


def found_against(evidence: Evidence, load_failure: str) -> str:
    """Why the new version must not go on; empty where nothing is found against it."""
    if load_failure:
        return f"its code cannot be loaded: {load_failure}"
    old, new = evidence.old, evidence.new
    if evidence.fails_more:
        return f"it fails more often: {new.errors} of {new.calls} calls, the old version {old.errors} of {old.calls}"
    if evidence.is_slower:
        return f"it is slower: {new.calls} calls beside {old.calls} of the old version"
    return ""


async def under_way(session: AsyncSession, function_uid: str, alias: str) -> RolloutRow | None:
    """The rollout of an alias that has not ended, if there is one."""
    of_alias = RolloutRow.function_uid == function_uid, RolloutRow.alias == alias
    query = select(RolloutRow).where(*of_alias, RolloutRow.state.in_(UNDER_WAY)).with_for_update()
    return await session.scalar(query)


async def check_none_under_way(session: AsyncSession, function_uid: str, function: str, alias: str) -> None:
    """Returns if an alias may be moved by other means than its rollout.

    Raises:
        StokerError: ROLLOUT_UNDER_WAY.
    """
    row = await under_way(session, function_uid, alias)
    if row is not None:
        raise errors.rollout_under_way(function, alias, row.to_version)


def rollout_of(row: RolloutRow) -> Rollout:
    """The rollout that a row describes."""
    return Rollout(
        row.uid,
        row.alias,
        row.from_version,
        row.from_uid,
        row.to_version,
        row.to_uid,
        Plan(tuple(row.steps), row.every_s, row.min_calls),
        Progress(State(row.state), row.step, row.since_s, row.held_s),
        row.judged_before,
        _evidence_of(row.evidence),
        row.reason,
        row.actor,
        in_utc(row.create_time),
    )


def write(row: RolloutRow, rollout: Rollout) -> None:
    """Writes into a row all of its rollout that changes."""
    row.state = rollout.progress.state.value
    row.step = rollout.progress.step
    row.since_s = rollout.progress.since_s
    row.held_s = rollout.progress.held_s
    row.judged_before = rollout.judged_before
    row.evidence = _written(rollout.evidence)
    row.reason = rollout.reason[:256]


def new_row(rollout: Rollout, function_uid: str) -> RolloutRow:
    """The row of a new rollout."""
    row = RolloutRow(
        uid=rollout.uid,
        function_uid=function_uid,
        alias=rollout.alias,
        from_version=rollout.from_version,
        from_uid=rollout.from_uid,
        to_version=rollout.to_version,
        to_uid=rollout.to_uid,
        steps=list(rollout.plan.steps),
        every_s=rollout.plan.every_s,
        min_calls=rollout.plan.min_calls,
        actor=rollout.actor,
        create_time=rollout.create_time,
    )
    write(row, rollout)
    return row


def _written(evidence: Evidence) -> dict[str, Any]:
    return {
        "errors": list(evidence.errors.logs),
        "slow": [list(bet.logs) for bet in evidence.slow],
        "errors_peak": evidence.errors_peak,
        "slow_peak": evidence.slow_peak,
        **{name: _written_outcomes(getattr(evidence, name)) for name in _OUTCOMES},
    }


def _evidence_of(written: Mapping[str, Any]) -> Evidence:
    return Evidence(
        Bet(tuple(written["errors"])),
        tuple(Bet(tuple(logs)) for logs in written["slow"]),
        written["errors_peak"],
        written["slow_peak"],
        *(_outcomes_of(written[name]) for name in _OUTCOMES),
    )


_OUTCOMES = ("old", "new", "open_old", "open_new")


def _written_outcomes(outcomes: Outcomes) -> list[Any]:
    return [outcomes.calls, outcomes.errors, sorted(outcomes.durations.items())]


def _outcomes_of(written: Sequence[Any]) -> Outcomes:
    calls, errors_, durations = written
    return Outcomes(calls, errors_, dict(durations))
