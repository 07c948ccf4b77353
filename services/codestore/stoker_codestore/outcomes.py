"""How the invocations of a version went, counted: what frontends report, and what adds up."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

BUCKETS = 80
"""How many buckets durations fall into: bucket n begins at 2^(n/4) ms, the first at 0, and the last has no end."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts of invocations of one version."""

    calls: int = 0
    errors: int = 0
    """Those that failed by the function: exceptions, timeouts, exits, too much memory, code that cannot be loaded."""
    durations: Mapping[int, int] = field(default_factory=dict[int, int])
    """How many of those that did not fail, and found a warm container, ran how long, by bucket."""

    def __add__(self, other: "Outcomes") -> "Outcomes":
        durations = Counter(self.durations)
        durations.update(other.durations)
        return Outcomes(self.calls + other.calls, self.errors + other.errors, durations)

    @property
    def successes(self) -> int:
        """How many calls have a duration."""
        return sum(self.durations.values())

    def longer_than(self, bucket: int) -> int:
        """How many ran longer than what belongs to a bucket."""
        return sum(count for each, count in self.durations.items() if each > bucket)

    def quantile(self, share: float) -> int | None:
        """The lowest bucket that, with those below it, holds `share` of the durations; None where there are none."""
        missing = share * self.successes
        for bucket, count in sorted(self.durations.items()):
            missing -= count
            if missing <= 0:
                return bucket
        return None


def upper_ms(bucket: int) -> float:
    """Where a bucket ends, in milliseconds."""
    return 2.0 ** ((bucket + 1) / 4) if bucket < BUCKETS - 1 else inf
