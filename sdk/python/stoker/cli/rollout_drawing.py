"""How a rollout is shown: in lines, and as a picture that is drawn again while it goes on."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stoker.cli.durations import shown
from stoker.rollouts import Rollout, RolloutState, VersionOutcomes

if TYPE_CHECKING:
    from rich.console import RenderableType

BAR = 30
THRESHOLD = 0.005
"""At which p a rollout is rolled back."""
_COLOURS = {
    RolloutState.RUNNING: "cyan",
    RolloutState.PAUSED: "yellow",
    RolloutState.DONE: "green",
    RolloutState.ROLLED_BACK: "red",
    RolloutState.ABORTED: "red",
}


def headline(rollout: Rollout) -> str:
    """What it is, and how it stands."""
    state = rollout.state.replace("_", " ")
    return f"{rollout.function}:{rollout.alias}  {rollout.from_version} -> {rollout.to_version}  {state}"


def standing(rollout: Rollout, now: datetime) -> str:
    """How far it has come."""
    if not rollout.is_under_way:
        return rollout.reason or f"version {rollout.to_version} gets everything"
    step = f"step {rollout.step + 1} of {len(rollout.steps)}, {rollout.weight} %"
    if rollout.state is RolloutState.PAUSED:
        return f"{step}; {rollout.reason}"
    if rollout.step_time is None:
        return step
    left_s = rollout.every_s - (now - rollout.step_time).total_seconds()
    if left_s > 0:
        return f"{step}; the next in {shown(max(1, round(left_s)))}"
    return f"{step}; the next when {rollout.min_calls} calls are judged" if rollout.min_calls else step


def line(rollout: Rollout, now: datetime) -> str:
    """All of it in one line, for where there is no terminal."""
    return f"{headline(rollout)}  {standing(rollout, now)}  new: {_counts(rollout.new)}  old: {_counts(rollout.old)}"


def drawn(rollout: Rollout, now: datetime | None = None) -> "RenderableType":
    """The picture."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    now = now or datetime.now(UTC)
    colour = _COLOURS.get(rollout.state, "")
    steps = Text("steps  ")
    for number, step in enumerate(rollout.steps):
        is_past = number < rollout.step or rollout.state is RolloutState.DONE
        is_here = number == rollout.step and rollout.is_under_way
        style = f"bold {colour}" if is_here else "green" if is_past else "dim"
        steps.append(("" if number == 0 else " > ") + f"{step}%", style)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("VERSION", "SHARE", "", "CALLS", "ERRORS", "P50", "P90"):
        table.add_column(column, justify="left" if column in ("VERSION", "") else "right")
    shares = (
        (rollout.from_version, 100 - rollout.weight, rollout.old, "blue"),
        (rollout.to_version, rollout.weight, rollout.new, colour),
    )
    for version, share, outcomes, bar_colour in shares:
        table.add_row(
            str(version),
            f"{share}%",
            Text("█" * round(BAR * share / 100) + "░" * (BAR - round(BAR * share / 100)), bar_colour),
            f"{outcomes.calls}",
            _errors(outcomes),
            _ms(outcomes.p50_ms),
            _ms(outcomes.p90_ms),
        )
    evidence = Text(f"worse?  errors p {rollout.errors_p:.2g}   slower p {rollout.slow_p:.2g}   ")
    evidence.append(f"back at {THRESHOLD:g}", "dim")
    return Group(Text(headline(rollout), f"bold {colour}"), steps, table, evidence, Text(standing(rollout, now)))


def _counts(outcomes: VersionOutcomes) -> str:
    return f"{outcomes.calls} calls, {_errors(outcomes)} errors, p50 {_ms(outcomes.p50_ms)}"


def _errors(outcomes: VersionOutcomes) -> str:
    share = f" ({100 * outcomes.errors / outcomes.calls:.1f}%)" if outcomes.errors else ""
    return f"{outcomes.errors}{share}"


def _ms(duration_ms: float) -> str:
    return f"{duration_ms:.3g} ms" if duration_ms else "-"
