"""How many blank containers a VM has: a pure function of what is in it.

A blank container waits with its language runtime up, so that a start only has to load the code. It takes real memory,
which the limits of containers with code don't count; so blanks are kept only in memory that no such limit claims.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

MEMORY_MIB = 128
"""The limit on a blank container's memory, until it gets that of a version."""
TMP_MIB = 64
"""The size of its `/tmp`, until it gets that of a version."""

FOOTPRINTS_MIB: Mapping[str, int] = {"python3": 16, "nodejs": 20}
"""What a blank container of a runtime really takes, in MiB, with a margin. Measured in the guest by `memory.stat`
without the page cache, which containers share and the kernel takes back: 12.2 and 14.6 MiB (Python 3.11, Node.js 18,
November 2026)."""
UNKNOWN_FOOTPRINT_MIB = 64

SMALLEST_CONTAINER_MIB = 64
"""No version's container is smaller. Where there is less room, a blank one could never get its code."""


@dataclass(frozen=True, slots=True)
class Make:
    """One more of a runtime."""

    runtime: str


@dataclass(frozen=True, slots=True)
class Drop:
    """One less."""

    blank: str


Step: TypeAlias = Make | Drop


def footprint_mib(runtime: str) -> int:
    """What a blank container of a runtime takes, in MiB."""
    return FOOTPRINTS_MIB.get(runtime, UNKNOWN_FOOTPRINT_MIB)


def next_step(blanks: Mapping[str, str], wanted: Mapping[str, int], free_mib: int) -> Step | None:
    """What to do next in a VM; None where all is as it should be.

    Args:
        blanks: The runtime of each blank container there is, by its id.
        wanted: How many blank containers of each runtime there should be.
        free_mib: What the VM has for containers beyond the limits of those with code, in MiB.

    Dropping comes first: what is of no use, then, while they take more than there is, the largest. One is made only
    where it fits beside the others, and where a container with code would fit too; the smallest is made first.
    """
    count = Counter(blanks.values())
    for blank, runtime in blanks.items():
        if count[runtime] > wanted.get(runtime, 0):
            return Drop(blank)
    taken_mib = sum(map(footprint_mib, blanks.values()))
    if blanks and taken_mib > free_mib:
        return Drop(max(blanks, key=lambda blank: footprint_mib(blanks[blank])))
    missing = [runtime for runtime, number in wanted.items() if count[runtime] < number]
    fitting = [runtime for runtime in missing if taken_mib + footprint_mib(runtime) <= free_mib]
    if not fitting or free_mib < SMALLEST_CONTAINER_MIB:
        return None
    return Make(min(fitting, key=lambda runtime: (count[runtime], footprint_mib(runtime), runtime)))
