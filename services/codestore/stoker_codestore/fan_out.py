"""Who fetches an artifact from whom, when many hosts are to get it.

The codestore sends it to a few hosts only, and each that has it serves a few others, so a fleet of any size has it
after a number of rounds that grows with the logarithm of the fleet. Everything here is a function of its arguments.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

CODESTORE = ""
"""The source that is no host."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much anybody sends."""

    codestore_copies: int = 2
    """To how many hosts the codestore sends an artifact, as long as any host can send it."""
    fetches_per_host: int = 2
    """How many others a host serves at a time, over all artifacts."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A host that gets an artifact from a source."""

    host: str
    source: str


@dataclass(frozen=True, slots=True)
class Spread:
    """How far an artifact has come."""

    waiting: Sequence[str]
    """Hosts that are to get it, those that have waited longest first."""
    running: Collection[Fetch]
    """What is under way."""
    holders: Sequence[str]
    """Hosts that have it and can be reached."""
    codestore_copies: int
    """How often the codestore has sent it, or is sending it."""
    failed: Collection[Fetch]
    """What was tried in vain, and is not to be tried again."""


def next_fetches(spread: Spread, serving: Counter[str], limits: Limits) -> list[Fetch]:
    """What to begin now.

    A host fetches from the holder that serves fewest; from the codestore while it has not sent enough copies, and
    beyond that only where no holder is left for it and none is in the making. Else it waits.

    Args:
        spread: How far the artifact has come.
        serving: How many others each host serves now, over all artifacts.
        limits: How much anybody sends.
    """
    serving = serving.copy()
    copies = spread.codestore_copies
    are_more_coming = bool(spread.running)
    begun: list[Fetch] = []
    for host in spread.waiting:
        usable = [holder for holder in spread.holders if holder != host and Fetch(host, holder) not in spread.failed]
        source = min(usable, key=lambda holder: serving[holder], default=None)
        if source is not None and serving[source] < limits.fetches_per_host:
            serving[source] += 1
            begun.append(Fetch(host, source))
        elif copies < limits.codestore_copies or not (usable or are_more_coming):
            copies += 1
            begun.append(Fetch(host, CODESTORE))
        are_more_coming = are_more_coming or bool(begun)
    return begun
