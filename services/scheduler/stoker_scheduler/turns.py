"""Whose turn it is: tenants share what is granted by their weights, however many demands each has.

This is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with grants in the place of packets. Each tenant
that waits has a start tag; the least is served first, and a grant moves its tenant's tag on by the reverse of its
weight. Who begins to wait starts at the tag that was served last, so that it neither pays for the time in which it
asked for nothing nor is paid for it: a tenant that floods delays another one's single demand by the grant that is under
way.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

MAX_LAGGING = 10_000
"""Of how many tenants that do not wait it is remembered that they are ahead of the others."""


class Turns:
    """The order of the tenants that wait."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        """Begins without tenants.

        Args:
            weights: How much tenants get in proportion to each other; 1 for one that is not named.
        """
        self._weights = weights or {}
        self._order: list[tuple[float, int, str]] = []
        self._entries: dict[str, tuple[float, int, str]] = {}
        self._ahead: dict[str, float] = {}
        """The tags of tenants that do not wait, as far as they are later than the one served last."""
        self._served = 0.0
        self._joined = 0

    def __iter__(self) -> Iterator[str]:
        """The tenants that wait, the next one first."""
        return (tenant for _, _, tenant in self._order)

    def join(self, tenant: str) -> None:
        """Adds a tenant that did not wait; those who have the same tag are served in the order in which they came."""
        self._joined += 1
        self._enter(max(self._served, self._ahead.pop(tenant, 0.0)), tenant)

    def leave(self, tenant: str) -> None:
        """Removes a tenant that waits."""
        start = self._withdraw(tenant)
        if start > self._served:
            self._ahead[tenant] = start
            if len(self._ahead) > MAX_LAGGING:
                self._ahead = {other: tag for other, tag in self._ahead.items() if tag > self._served}
                while len(self._ahead) > MAX_LAGGING:
                    del self._ahead[next(iter(self._ahead))]

    def charge(self, tenant: str) -> None:
        """Notes a grant to a tenant that waits."""
        start = self._withdraw(tenant)
        self._served = max(self._served, start)
        self._joined += 1
        self._enter(start + 1.0 / self._weights.get(tenant, 1.0), tenant)

    def _enter(self, start: float, tenant: str) -> None:
        entry = self._entries[tenant] = (start, self._joined, tenant)
        insort(self._order, entry)

    def _withdraw(self, tenant: str) -> float:
        entry = self._entries.pop(tenant)
        del self._order[bisect_left(self._order, entry)]
        return entry[0]
