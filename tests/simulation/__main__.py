"""Compares Stoker's policy with simpler ones: `python -m tests.simulation`, or `make simulate`."""

import argparse
import os
import sys
from pathlib import Path

from tests.simulation import report
from tests.simulation.studies import Size, jobs_for, outcomes

MISSED = 1
HOST_MIB = 16_384
SWEEP_LONGER = 4
"""How much longer the world lives in which the policies' knobs are swept."""


def main() -> int:
    """Makes the runs, writes the report, and returns 1 where the bar is missed."""
    asked = _arguments()
    large = Size("fleet", asked.hosts, HOST_MIB, asked.functions, asked.calls, asked.hours, asked.seed)
    # A part of it for longer, as there are many runs, and habits take hours to show.
    hours = SWEEP_LONGER * asked.hours
    numbers = (asked.hosts, asked.functions, asked.calls)
    hosts, functions, calls = (max(1, round(asked.sweep_share * number)) for number in numbers)
    small = Size("sweep", hosts, HOST_MIB, functions, calls, hours, asked.seed)
    made = list(outcomes(jobs_for(large, is_sweep=False), asked.processes))
    print(report.text_table(made), end="\n\n", flush=True)
    swept = [] if asked.no_sweep else list(outcomes(jobs_for(small, is_sweep=True), asked.processes))
    if swept:
        print(report.text_table(swept), end="\n\n")
    page = report.write(made, swept, asked.output)
    print(page)
    print(report.verdict(made))
    return 0 if report.is_bar_met(made) else MISSED


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what the workload and the hosts' delays are drawn from")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=1_000_000, help="how many invocations come, on average over seeds")
    parser.add_argument("--hours", type=float, default=1.0, help="over how long they come")
    parser.add_argument("--no-sweep", action="store_true", help="leaves out the curves over the policies' knobs")
    parser.add_argument("--sweep-share", type=float, default=0.1, help="how large the world of those curves is, of 1")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many runs are made at once")
    parser.add_argument("--output", type=Path, default=Path(".build/simulation"), help="where the report is written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
