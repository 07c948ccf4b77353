"""How the calls of weighted aliases went, counted until they are reported. Without I/O or clock."""

from dataclasses import dataclass, field
from math import log2
from typing import NamedTuple

from stoker_frontend.routes import RouteKey

BUCKETS = 80
MAX_COUNTED = 2000
"""How many versions of aliases are counted between two reports; what is over that is not."""


class Way(NamedTuple):
    """How a call came to a version: by an alias, which gave it a share of `weight` percent."""

    route: RouteKey
    version_uid: str
    weight: int


@dataclass(slots=True)
class Counts:
    """How calls went."""

    calls: int = 0
    errors: int = 0
    durations: dict[int, int] = field(default_factory=dict[int, int])
    """How many of those that did not fail, and found a warm container, took the handler how long, by bucket."""


class Outcomes:
    """The counts of all ways that lead to one of two versions; others tell nothing that could be compared."""

    def __init__(self) -> None:
        self._counts: dict[Way, Counts] = {}

    def succeeded(self, way: Way, run_ms: float, *, is_warm: bool) -> None:
        """Counts a call that the handler answered. In a fresh container it may take longer, whichever version it is."""
        counts = self._of(way)
        if counts is None:
            return
        counts.calls += 1
        if is_warm:
            bucket = bucket_of(run_ms)
            counts.durations[bucket] = counts.durations.get(bucket, 0) + 1

    def failed(self, way: Way) -> None:
        """Counts a call that failed by the function."""
        counts = self._of(way)
        if counts is not None:
            counts.calls += 1
            counts.errors += 1

    def take(self) -> dict[Way, Counts]:
        """What has been counted since the last time."""
        taken, self._counts = self._counts, {}
        return taken

    def _of(self, way: Way) -> Counts | None:
        counts = self._counts.get(way)
        if counts is None and len(self._counts) < MAX_COUNTED:
            counts = self._counts[way] = Counts()
        return counts


def bucket_of(run_ms: float) -> int:
    """The bucket that a duration belongs to: number n begins at 2^(n/4) ms, the first at 0, and the last has no end."""
    return min(BUCKETS - 1, int(4 * log2(run_ms))) if run_ms > 1 else 0
