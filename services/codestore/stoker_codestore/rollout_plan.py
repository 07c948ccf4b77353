"""How a rollout goes on: which share the new version gets, and when it gets the next. Without clock or database.

A rollout takes one step at a time, however long nobody has looked: so each step lasts as long as it should, also where
all codestores were away.
"""

from dataclasses import dataclass, replace
from enum import Enum


class State(Enum):
    """How a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    """It takes no step, but is still rolled back if the new version is found to be worse."""
    DONE = "done"
    """The new version gets everything."""
    ROLLED_BACK = "rolled_back"
    """The new version was found to be worse; the old one gets everything."""
    ABORTED = "aborted"
    """Somebody ended it; the old one gets everything."""

    @property
    def is_under_way(self) -> bool:
        """Whether it may still change."""
        return self in (State.RUNNING, State.PAUSED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout is to do."""

    steps: tuple[int, ...]
    """The new version's share in percent at each step: growing, the last one 100."""
    every_s: float
    """How long each step lasts at the least, in seconds."""
    min_calls: int = 0
    """How many calls of the new version must have been judged at a step before the next."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout has come."""

    state: State
    step: int
    """Which one of the plan's, from 0."""
    since_s: float
    """When the step began, later by as long as it was paused; while paused, when the pause began."""
    held_s: float = 0.0
    """While paused: how long the step had lasted by then."""


def begin(plan: Plan, now_s: float) -> Progress:
    """The begin of a rollout. One whose first step is the last is done at once."""
    return Progress(State.DONE if len(plan.steps) == 1 else State.RUNNING, 0, now_s)


def is_due(plan: Plan, progress: Progress, now_s: float, judged: int) -> bool:
    """Whether the next step is to be taken, if nothing is found against the new version.

    Args:
        plan: The plan.
        progress: How far it has come.
        now_s: The time.
        judged: How many calls of the new version have been judged since the step began.
    """
    return progress.state is State.RUNNING and now_s - progress.since_s >= plan.every_s and judged >= plan.min_calls


def stepped(plan: Plan, progress: Progress, now_s: float) -> Progress:
    """A rollout that takes its next step, which is due."""
    step = progress.step + 1
    return Progress(State.DONE if step == len(plan.steps) - 1 else State.RUNNING, step, now_s)


def rolled_back(progress: Progress, now_s: float) -> Progress:
    """A rollout that is under way and whose new version was found to be worse."""
    return Progress(State.ROLLED_BACK, progress.step, now_s)


def aborted(progress: Progress, now_s: float) -> Progress:
    """A rollout that somebody ends; one that has ended stays as it is."""
    return Progress(State.ABORTED, progress.step, now_s) if progress.state.is_under_way else progress


def paused(progress: Progress, now_s: float) -> Progress:
    """A rollout that somebody holds; only one that runs can be."""
    if progress.state is not State.RUNNING:
        return progress
    return Progress(State.PAUSED, progress.step, now_s, held_s=max(0.0, now_s - progress.since_s))


def resumed(progress: Progress, now_s: float) -> Progress:
    """A rollout that goes on where it was paused; only one that is can be."""
    if progress.state is not State.PAUSED:
        return progress
    return replace(progress, state=State.RUNNING, since_s=now_s - progress.held_s, held_s=0.0)


def weight(plan: Plan, progress: Progress) -> int:
    """The new version's share in percent."""
    match progress.state:
        case State.RUNNING | State.PAUSED:
            return plan.steps[progress.step]
        case State.DONE:
            return 100
        case State.ROLLED_BACK | State.ABORTED:
            return 0
