"""Rollouts and what frontends count, between values and messages."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise

from google.protobuf.duration_pb2 import Duration
from stoker_protos.codestore.v1 import outcomes_pb2
from stoker_protos.v1 import rollouts_pb2

from stoker_codestore import errors
from stoker_codestore.outcomes import BUCKETS, Outcomes, upper_ms
from stoker_codestore.rollout_plan import Plan, State
from stoker_codestore.rollout_rows import Rollout
from stoker_codestore.rollouts import Counted
from stoker_codestore.wire import timestamp

_STATES = {
    State.RUNNING: rollouts_pb2.ROLLOUT_STATE_RUNNING,
    State.PAUSED: rollouts_pb2.ROLLOUT_STATE_PAUSED,
    State.DONE: rollouts_pb2.ROLLOUT_STATE_DONE,
    State.ROLLED_BACK: rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK,
    State.ABORTED: rollouts_pb2.ROLLOUT_STATE_ABORTED,
}


def plan_of(rollout: rollouts_pb2.Rollout) -> Plan:
    """What a client wants a rollout to do.

    Raises:
        StokerError: INVALID_FIELD.
    """
    steps = tuple(rollout.steps)
    if any(step >= after for step, after in pairwise(steps)):
        raise errors.invalid_field(
            "rollout.steps", "each step must be more than the one before, such as 1, 10, 50, 100"
        )
    return Plan(steps, rollout.every.ToNanoseconds() / 1e9, rollout.min_calls)


def rollout_message(function: str, rollout: Rollout) -> rollouts_pb2.Rollout:
    """The message of a rollout of a function."""
    evidence, progress = rollout.evidence, rollout.progress
    every = Duration()
    every.FromNanoseconds(round(rollout.plan.every_s * 1e9))
    since = timestamp(datetime.fromtimestamp(progress.since_s - progress.held_s, UTC))
    is_under_way = progress.state.is_under_way
    return rollouts_pb2.Rollout(
        name=f"functions/{function}/rollouts/{rollout.uid}",
        alias=rollout.alias,
        from_version=rollout.from_version,
        to_version=rollout.to_version,
        steps=rollout.plan.steps,
        every=every,
        min_calls=rollout.plan.min_calls,
        state=_STATES[progress.state],
        step=progress.step,
        weight=rollout.weight,
        reason=rollout.reason,
        actor=rollout.actor,
        create_time=timestamp(rollout.create_time),
        step_time=since if is_under_way else None,
        end_time=None if is_under_way else since,
        comparison=rollouts_pb2.RolloutComparison(
            old=_outcomes_message(evidence.old + evidence.open_old),
            new=_outcomes_message(evidence.new + evidence.open_new),
            errors_p=evidence.errors_p,
            slow_p=evidence.slow_p,
        ),
    )


def counted_by_alias(
    counts: Iterable[outcomes_pb2.OutcomeCounts],
) -> Mapping[tuple[str, str, str], list[Counted]]:
    """What a frontend has counted, by tenant, function and alias."""
    by_alias: dict[tuple[str, str, str], list[Counted]] = {}
    for each in counts:
        durations = {bucket: count for bucket, count in each.durations.items() if count}
        outcomes = Outcomes(each.calls, each.errors, durations)
        counted = Counted(each.version_uid, each.weight, outcomes)
        by_alias.setdefault((each.tenant, each.function, each.alias), []).append(counted)
    return by_alias


def _outcomes_message(outcomes: Outcomes) -> rollouts_pb2.VersionOutcomes:
    return rollouts_pb2.VersionOutcomes(
        calls=outcomes.calls,
        errors=outcomes.errors,
        p50_ms=_quantile_ms(outcomes, 0.5),
        p90_ms=_quantile_ms(outcomes, 0.9),
    )


def _quantile_ms(outcomes: Outcomes, share: float) -> float:
    bucket = outcomes.quantile(share)
    # The last bucket has no end, so its begin is told.
    return 0.0 if bucket is None else upper_ms(min(bucket, BUCKETS - 2))
