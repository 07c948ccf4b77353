"""What came of the runs: a verdict, tables, and one HTML page with the curves in it."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from tests.simulation.baselines import BASELINES, STOKER
from tests.simulation.plots import draw
from tests.simulation.studies import Outcome

COLUMNS = (
    "policy",
    "knob",
    "calls",
    "cold",
    "for a VM",
    "primed",
    "warm",
    "p50 s",
    "p99 s",
    "p99.9 s",
    "wasted GiB h",
    "allocated GiB h",
    "CPU s",
    "decisions/s",
)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums;font-size:13px}"
    "td,th{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,td:nth-child(2),th:first-child,th:nth-child(2){text-align:left}"
    "img{max-width:100%}.ok{color:#070}.bad{color:#a00}"
)


def is_bar_met(outcomes: Sequence[Outcome]) -> bool:
    """Whether Stoker has fewer cold starts than each baseline at equal or less wasted memory."""
    meant = {outcome.policy: outcome for outcome in outcomes if outcome.is_meant}
    stoker = meant[STOKER]
    return all(
        stoker.cold_share < meant[name].cold_share and stoker.wasted_gib_h <= meant[name].wasted_gib_h
        for name in BASELINES
    )


def verdict(outcomes: Sequence[Outcome]) -> str:
    """The bar and the figures in a line."""
    figures = "; ".join(
        f"{outcome.policy}: {outcome.cold_share:.3%} cold, {outcome.wasted_gib_h:,.1f} GiB h wasted"
        for outcome in outcomes
        if outcome.is_meant
    )
    is_met = "met" if is_bar_met(outcomes) else "MISSED"
    return f"{figures}; bar: fewer cold starts at equal or less waste than each baseline: {is_met}"


def row(outcome: Outcome) -> list[str]:
    """An outcome as the cells of a table."""
    return [
        outcome.policy,
        f"{outcome.knob} {outcome.value:g}",
        f"{outcome.calls:,}",
        f"{outcome.cold_share:.3%}",
        f"{outcome.waited_for_vm:,}",
        f"{outcome.primed_share:.3%}",
        f"{outcome.warm_share:.2%}",
        f"{outcome.wait_p50_s:.3f}",
        f"{outcome.wait_p99_s:.3f}",
        f"{outcome.wait_p999_s:.3f}",
        f"{outcome.wasted_gib_h:,.1f}",
        f"{outcome.allocated_gib_h:,.1f}",
        f"{outcome.cpu_s:.0f}",
        f"{outcome.decisions_per_s:,.0f}",
    ]


def text_table(outcomes: Sequence[Outcome]) -> str:
    """A table for the terminal and for Markdown."""
    rows = [list(COLUMNS), *map(row, outcomes)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |" for cells in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write(large: Sequence[Outcome], sweep: Sequence[Outcome], directory: Path) -> Path:
    """Writes the curves, the figures as JSON, and the page that holds all; returns the page."""
    directory.mkdir(parents=True, exist_ok=True)
    curves = draw(large, sweep, directory)
    (directory / "outcomes.json").write_text(json.dumps([asdict(each) for each in (*large, *sweep)]), encoding="utf-8")
    parts = ["<!doctype html><meta charset=utf-8><title>Stoker, simulated</title>", f"<style>{STYLE}</style>"]
    parts.append("<h1>Stoker, simulated</h1>")
    for title, outcomes in (("Policies", large), ("Over their knobs", sweep)):
        if outcomes:
            parts += _section(title, outcomes)
    for title, path in curves:
        image = b64encode(path.read_bytes()).decode()
        parts.append(f'<h2>{escape(title)}</h2><img alt="{escape(title)}" src="data:image/png;base64,{image}">')
    if not curves:
        parts.append("<p>Install matplotlib to see the curves.</p>")
    page = directory / "index.html"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _section(title: str, outcomes: Sequence[Outcome]) -> list[str]:
    size = outcomes[0].size
    kind = "ok" if is_bar_met(outcomes) else "bad"
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row(outcome))}</tr>" for outcome in outcomes)
    return [
        f"<h2>{escape(title)}</h2>",
        f"<p>{size.hosts:,} hosts of {size.host_memory_mib / 1024:g} GiB, {size.functions:,} functions, "
        f"{size.hours:g} hours, seed {size.seed}.</p>",
        f"<p class={kind}>{escape(verdict(outcomes))}</p>",
        f"<table><tr>{head}</tr>{body}</table>",
    ]
