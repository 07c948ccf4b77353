"""What the judgement of rollouts is worth: how often good versions are rolled back, and how soon bad ones are.

Rollouts are simulated call by call, and judged by what the codestore judges them by, after every 50 calls.
"""

import sys
from collections.abc import Iterable
from itertools import islice

from measuring import Bar, conclude, machine, percentile
from stoker_codestore.rollout_verdict import ERRORS_ALPHA, SLOW_ALPHA, Evidence

from tests.codestore.rollout_trials import BATCH, Behaviour, trial

ROLLOUTS = 250
"""Of each kind, with versions that are alike."""
CALLS = 5_000
WAVE = 20.0
"""By how many times the errors and durations of both versions rise at times, in half of the rollouts."""
WEIGHTS = (1, 10, 50)
TRIALS = 41
OLD = Behaviour()
"""1 % errors; durations around 40 ms, half of them between 29 and 56."""
WORSE = {
    "5 % errors instead of 1 %": Behaviour(error_rate=0.05),
    "half as slow again": Behaviour(median_ms=60.0),
    "half as slow again, durations widely spread": Behaviour(median_ms=60.0, spread=1.0),
    "always fails": Behaviour(error_rate=1.0),
}
SPREAD = Behaviour(spread=1.0)


def alarms() -> float:
    """The share of rollouts of a version that is like the old one which are rolled back."""
    rolled_back = rollouts = 0
    for weight in (10, 50):
        for wave in (0.0, WAVE):
            for seed in range(ROLLOUTS):
                run = trial(seed, weight, OLD, OLD, wave)
                rolled_back += any(is_found(known) for _, known in islice(run, CALLS // BATCH))
                rollouts += 1
    print(f"  {rolled_back} of {rollouts} rollouts of {CALLS} calls were rolled back, the versions being alike")
    return rolled_back / rollouts


def calls_needed(weight: int, new: Behaviour) -> list[int]:
    """How many calls of a new version it took until it was rolled back, in some rollouts."""
    old = SPREAD if new.spread == SPREAD.spread else OLD
    return [first(trial(seed, weight, old, new)) for seed in range(TRIALS)]


def first(run: Iterable[tuple[int, Evidence]]) -> int:
    """The calls of the new version when it was found to be worse."""
    return next(calls for calls, known in run if is_found(known))


def is_found(known: Evidence) -> bool:
    """Whether the new version is rolled back."""
    return known.fails_more or known.is_slower


def main() -> int:
    """Simulates, and tells."""
    print(f"rollout_verdict: {machine()}", flush=True)
    share = alarms()
    medians: dict[tuple[str, int], float] = {}
    for what, new in WORSE.items():
        for weight in WEIGHTS:
            needed = calls_needed(weight, new)
            medians[what, weight] = percentile(needed, 50)
            print(f"  {what}, {weight:2} % of the calls: found after p50 {percentile(needed, 50):.0f}, ", end="")
            print(f"p90 {percentile(needed, 90):.0f} calls of the new version", flush=True)
    errors, slow, *_ = WORSE
    bars = [
        Bar("good versions rolled back", 100 * share, 100 * (ERRORS_ALPHA + SLOW_ALPHA), " %"),
        Bar(f"calls until {errors} is seen, at 10 %", medians[errors, 10], 400, ""),
        Bar(f"calls until {slow} is seen, at 10 %", medians[slow, 10], 250, ""),
    ]
    return conclude("rollout_verdict", f"{4 * ROLLOUTS} rollouts without, {12 * TRIALS} with a difference", bars)


if __name__ == "__main__":
    sys.exit(main())
