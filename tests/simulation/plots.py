"""Curves, as PNG files. Without matplotlib there are none; the tables say the same."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.simulation.measures import Sample
from tests.simulation.studies import Outcome, by_policy

SIZE = (8.0, 4.5)
MINUTES = 60.0


def draw(large: Sequence[Outcome], sweep: Sequence[Outcome], directory: Path) -> list[tuple[str, Path]]:
    """Draws all curves into a directory; returns their titles and files, none where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return []
    drawn: list[tuple[str, Path]] = []
    if sweep:
        drawn.append(_trade_off(sweep, directory / "cold_starts_against_waste.png"))
    if large:
        drawn.append(
            _over_time(
                large,
                "Wasted memory over time",
                "VM memory that runs nothing, GiB",
                lambda _, now: (now.allocated_mib - now.running_mib) / 1024,
                directory / "wasted_memory.png",
            )
        )
        drawn.append(
            _over_time(
                large,
                "Cold starts over time",
                "share of the calls of each minute, %",
                lambda before, now: 100 * (now.cold - before.cold) / max(1, now.calls - before.calls),
                directory / "cold_starts.png",
            )
        )
    return drawn


def _figure() -> tuple[Any, Any]:
    """A figure and its axes; untyped, as most of matplotlib's own types are unknown."""
    from matplotlib.figure import Figure

    figure: Any = Figure(SIZE, layout="constrained")
    return figure, figure.subplots()


def _trade_off(sweep: Sequence[Outcome], path: Path) -> tuple[str, Path]:
    figure, axes = _figure()
    for name, outcomes in by_policy(sweep).items():
        at = sorted((each.wasted_gib_h, 100 * each.cold_share, each.value) for each in outcomes)
        axes.plot([x for x, _, _ in at], [y for _, y, _ in at], marker="o", label=name)
        for x, y, value in at:
            axes.annotate(f"{value:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set_xlabel("wasted VM memory, GiB hours")
    axes.set_ylabel("cold starts, % of the calls")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    return "Cold starts against wasted memory; the numbers are the knob's values", path


def _over_time(
    large: Sequence[Outcome], title: str, unit: str, value: Callable[[Sample, Sample], float], path: Path
) -> tuple[str, Path]:
    figure, axes = _figure()
    for outcome in large:
        pairs = list(zip(outcome.samples, outcome.samples[1:], strict=False))
        axes.plot([now.now_s / MINUTES for _, now in pairs], [value(*pair) for pair in pairs], label=outcome.policy)
    axes.set_xlabel("minutes")
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    return title, path
