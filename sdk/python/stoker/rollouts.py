"""Rollouts, and what aliases pointed to before: facts, as frozen values, and the messages that they come in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stoker_protos.v1 import aliases_pb2, rollouts_pb2

from stoker.names import last_part, part
from stoker.wire import time_of


class RolloutState(StrEnum):
    """How a rollout stands."""

    UNKNOWN = "unknown"
    """One that this client is too old to know."""
    RUNNING = "running"
    PAUSED = "paused"
    """It takes no step, but is still rolled back if the new version is found to be worse."""
    DONE = "done"
    """The new version gets everything."""
    ROLLED_BACK = "rolled_back"
    """The new version was found to be worse; the old one gets everything."""
    ABORTED = "aborted"
    """Somebody ended it; the old version gets everything."""


@dataclass(frozen=True, slots=True)
class VersionOutcomes:
    """How the calls of one version went during a rollout."""

    calls: int
    errors: int
    """Those that failed by the function."""
    p50_ms: float
    """Half of the others took the handler no longer, to within 19 %; 0 where there are none."""
    p90_ms: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """A way of an alias from one version to another."""

    id: str
    function: str
    alias: str
    from_version: int
    to_version: int
    steps: Sequence[int]
    """The new version's share in percent at each step."""
    every_s: float
    """How long each step lasts at the least."""
    min_calls: int
    """How many calls of the new version must have been judged at a step before the next."""
    state: RolloutState
    step: int
    """Which of `steps` it has come to, from 0."""
    weight: int
    """The new version's share in percent now."""
    reason: str
    """Why it ended or is held; empty while it runs."""
    actor: str
    """Who started it: the public id of an API key."""
    create_time: datetime
    step_time: datetime | None
    """When the present step began; None when it has ended."""
    end_time: datetime | None
    """None while it is under way."""
    old: VersionOutcomes
    new: VersionOutcomes
    errors_p: float
    """How likely a version that fails no more often would ever have looked as bad, at the most; 1 if all is well."""
    slow_p: float
    """The same for being slower."""

    @property
    def is_under_way(self) -> bool:
        """Whether it may still change."""
        return self.state in (RolloutState.RUNNING, RolloutState.PAUSED)


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One change of where an alias points."""

    time: datetime
    actor: str
    """The public id of the API key that asked for it, or `rollout`; empty where it is not known."""
    before: Mapping[int, int]
    """Each version's share in percent; empty where there was no such alias."""
    after: Mapping[int, int]
    """The same since; empty where it was deleted."""
    reason: str


_STATES = {
    rollouts_pb2.ROLLOUT_STATE_RUNNING: RolloutState.RUNNING,
    rollouts_pb2.ROLLOUT_STATE_PAUSED: RolloutState.PAUSED,
    rollouts_pb2.ROLLOUT_STATE_DONE: RolloutState.DONE,
    rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK: RolloutState.ROLLED_BACK,
    rollouts_pb2.ROLLOUT_STATE_ABORTED: RolloutState.ABORTED,
}


def rollout_of(message: rollouts_pb2.Rollout) -> Rollout:
    """A rollout."""
    return Rollout(
        id=last_part(message.name),
        function=part(message.name, 1),
        alias=message.alias,
        from_version=message.from_version,
        to_version=message.to_version,
        steps=tuple(message.steps),
        every_s=message.every.ToNanoseconds() / 1e9,
        min_calls=message.min_calls,
        state=_STATES.get(message.state, RolloutState.UNKNOWN),
        step=message.step,
        weight=message.weight,
        reason=message.reason,
        actor=message.actor,
        create_time=time_of(message.create_time),
        step_time=time_of(message.step_time) if message.HasField("step_time") else None,
        end_time=time_of(message.end_time) if message.HasField("end_time") else None,
        old=_outcomes_of(message.comparison.old),
        new=_outcomes_of(message.comparison.new),
        errors_p=message.comparison.errors_p,
        slow_p=message.comparison.slow_p,
    )


def alias_change_of(message: aliases_pb2.AliasChange) -> AliasChange:
    """A change of an alias."""
    return AliasChange(
        time_of(message.time),
        message.actor,
        _routes_of(message.routes_before),
        _routes_of(message.routes_after),
        message.reason,
    )


def _outcomes_of(message: rollouts_pb2.VersionOutcomes) -> VersionOutcomes:
    return VersionOutcomes(message.calls, message.errors, message.p50_ms, message.p90_ms)


def _routes_of(routes: Iterable[aliases_pb2.WeightedVersion]) -> Mapping[int, int]:
    return {route.version: route.weight for route in routes}
