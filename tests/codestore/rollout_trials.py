"""Rollouts that are simulated, call by call, to see what their judgement is worth."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from stoker_codestore.outcomes import BUCKETS, Outcomes
from stoker_codestore.rollout_verdict import Evidence

BATCH = 50
"""How many calls are reported at once."""


@dataclass(frozen=True)
class Behaviour:
    """How a version behaves."""

    error_rate: float = 0.01
    median_ms: float = 40.0
    spread: float = 0.5
    """The standard deviation of the logarithm of the duration."""


def bucket_of(duration_ms: float) -> int:
    return min(BUCKETS - 1, max(0, math.floor(4 * math.log2(duration_ms))))


def trial(seed: int, weight: int, old: Behaviour, new: Behaviour, wave: float = 0.0) -> Iterator[tuple[int, Evidence]]:
    """A rollout that stays at one weight: how many calls of the new version there were, and what is known by then.

    With a `wave`, the error rates and durations of both versions rise and fall together, by up to that factor.
    """
    chance = random.Random(seed)  # noqa: S311 - the same calls each time
    evidence = Evidence()
    while True:
        counted = [Outcomes(), Outcomes()]
        strain = 1 + wave * chance.random() ** 4
        calls: list[list[float]] = [[], []]
        errors = [0, 0]
        for _ in range(BATCH):
            is_new = chance.random() * 100 < weight
            behaviour = new if is_new else old
            if chance.random() < behaviour.error_rate * strain:
                errors[is_new] += 1
            else:
                calls[is_new].append(chance.lognormvariate(math.log(behaviour.median_ms * strain), behaviour.spread))
        for which in (0, 1):
            found = Counter(bucket_of(duration_ms) for duration_ms in calls[which])
            counted[which] = Outcomes(len(calls[which]) + errors[which], errors[which], found)
        evidence = evidence.with_calls(counted[0], counted[1], weight)
        yield evidence.new.calls, evidence


def calls_to_find(weight: int, new: Behaviour, *, trials: int = 9) -> int:
    """How many calls of the new version it takes, in the median of some trials, until it is found to be worse."""
    needed: list[int] = []
    for seed in range(trials):
        run = trial(seed, weight, Behaviour(), new)
        needed.append(next(calls for calls, known in run if known.fails_more or known.is_slower))
    return sorted(needed)[trials // 2]
