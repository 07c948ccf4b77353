"""For how long a function's container is kept idle, from how long the function was idle before.

This is the hybrid histogram policy of Shahrad et al., "Serverless in the Wild: Characterizing and Optimizing the
Serverless Workload at a Large Cloud Provider", USENIX ATC 2020: most functions have their own pattern, so one
keep-alive for all of them is too short for some and a waste of memory for others. A histogram with a limited range
holds a function's idle times; the container is kept until nearly all of them would have ended, with a margin. Where too
little is known, or the histogram shows no pattern (its bins differ too little: a low coefficient of variation), the
standard keep-alive holds. Where most idle times are beyond the range no keep-alive within it would help, so it is the
shortest; the paper forecasts those with a time series and makes containers ahead of time, which is not done here.
"""

from array import array
from dataclasses import dataclass
from math import sqrt

BIN_S = 30.0
"""The width of a bin, in seconds."""
ENOUGH = 10
"""From how many idle times on they count."""
MOST = 1000
"""With so many of them all bins are halved, so that what was long ago counts less, and a bin never overflows."""
TAIL = 0.99
"""Of which part of the idle times the end is waited for."""
MARGIN = 0.1
"""By which part the container is kept for longer than that."""
PATTERN = 2.0
"""The least coefficient of variation of a histogram that shows a pattern."""


@dataclass(frozen=True, slots=True)
class KeepAlivePolicy:
    """How long an idle container is kept, in seconds."""

    standard_s: float
    """Where a function's idle times say nothing."""
    least_s: float
    """In any case."""
    most_s: float
    """At the most; the range of the histograms."""


class IdleTimes:
    """A function's idle times, in a histogram."""

    __slots__ = ("_beyond", "_bins", "_count", "_squares")

    def __init__(self) -> None:
        self._bins = array("H")
        """No longer than it has to be."""
        self._beyond = 0
        self._count = 0
        """How many are in the bins."""
        self._squares = 0
        """The sum of the squares of the bins, from which the variation follows without looking at them."""

    def add(self, idle_s: float, range_s: float) -> None:
        """Adds an idle time."""
        if idle_s >= range_s:
            self._beyond += 1
        else:
            bin_ = int(idle_s / BIN_S)
            if bin_ >= len(self._bins):
                self._bins.extend([0] * (bin_ + 1 - len(self._bins)))
            self._squares += 2 * self._bins[bin_] + 1
            self._bins[bin_] += 1
            self._count += 1
        if self._count + self._beyond >= MOST:
            self._halve()

    def keep_s(self, policy: KeepAlivePolicy) -> float:
        """For how long to keep a container that has fallen idle, in seconds."""
        return min(policy.most_s, max(policy.least_s, self._unbounded_s(policy)))

    def _unbounded_s(self, policy: KeepAlivePolicy) -> float:
        known = self._count + self._beyond
        if known < ENOUGH:
            return policy.standard_s
        if self._beyond > known / 2:
            return policy.least_s
        if self.variation(policy.most_s) < PATTERN:
            return policy.standard_s
        return self._ended_s(TAIL) * (1 + MARGIN)

    def variation(self, range_s: float) -> float:
        """The coefficient of variation of the bins of a range; 0 where there is nothing in them."""
        if not self._count:
            return 0.0
        bins = max(len(self._bins), round(range_s / BIN_S))
        return sqrt(max(0.0, bins * self._squares / self._count**2 - 1))

    def _ended_s(self, part: float) -> float:
        """Until when a part of the idle times in the bins had ended, in seconds."""
        seen = 0
        for number, count in enumerate(self._bins, start=1):
            seen += count
            if seen >= part * self._count:
                return number * BIN_S
        return len(self._bins) * BIN_S

    def _halve(self) -> None:
        self._bins = array("H", (count // 2 for count in self._bins))
        self._beyond //= 2
        self._count = sum(self._bins)
        self._squares = sum(count * count for count in self._bins)
