"""Demands that wait for a container.

A demand wants any container of its version. So it is not tied to the one that is being made because of it: the first
container of the version that falls idle goes to the demand that has waited longest, and as many containers are made as
demands wait, less those that are being made already. What is made in the end for nobody stays warm.

Within a tenant it is first come, first served; a demand that finds no room lets later ones of other versions pass. The
tenants take turns, the one that was served longest ago first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from stoker_scheduler import errors
from stoker_scheduler.machines import Demand


@dataclass(frozen=True, slots=True)
class Ticket:
    """A demand's place in the queue."""

    number: int
    """The less, the earlier it came."""
    demand: Demand


class Waiting:
    """The queue."""

    def __init__(self, limit: int, limit_per_tenant: int) -> None:
        """Begins empty.

        Args:
            limit: How many demands may wait at once.
            limit_per_tenant: How many of them may be one tenant's.
        """
        self._limit = limit
        self._limit_per_tenant = limit_per_tenant
        self._last_number = 0
        self._count = 0
        self._counts: dict[str, int] = {}
        self._queues: dict[str, dict[str, dict[int, Ticket]]] = {}
        """By tenant, the one served longest ago first, and by version."""

    def __len__(self) -> int:
        return self._count

    def __contains__(self, ticket: Ticket) -> bool:
        version = ticket.demand.version
        return ticket.number in self._queue(version.tenant, version.uid)

    def join(self, demand: Demand) -> Ticket:
        """Adds a demand at the end.

        Raises:
            StokerError: QUEUE_FULL.
        """
        tenant = demand.version.tenant
        if self._count >= self._limit:
            raise errors.queue_full(self._limit)
        if self._counts.get(tenant, 0) >= self._limit_per_tenant:
            raise errors.queue_full_for_tenant(tenant, self._limit_per_tenant)
        self._last_number += 1
        ticket = Ticket(self._last_number, demand)
        self._add(ticket)
        return ticket

    def rejoin(self, ticket: Ticket) -> None:
        """Puts a demand that has left back into its old place, whatever the limits."""
        if ticket in self:
            return
        self._add(ticket)
        version = ticket.demand.version
        queue = self._queues[version.tenant][version.uid]
        self._queues[version.tenant][version.uid] = dict(sorted(queue.items()))

    def leave(self, ticket: Ticket) -> bool:
        """Removes a demand; returns whether it was waiting."""
        version = ticket.demand.version
        if self._queue(version.tenant, version.uid).pop(ticket.number, None) is None:
            return False
        self._count -= 1
        self._counts[version.tenant] -= 1
        if not self._queues[version.tenant][version.uid]:
            del self._queues[version.tenant][version.uid]
        if not self._queues[version.tenant]:
            del self._queues[version.tenant], self._counts[version.tenant]
        return True

    def firsts(self) -> list[Ticket]:
        """For each version that is waited for, the demand that has waited longest."""
        return [next(iter(queue.values())) for versions in self._queues.values() for queue in versions.values()]

    def first(self, tenant: str, version_uid: str) -> Ticket | None:
        """The demand that has waited longest for a tenant's version."""
        return next(iter(self._queue(tenant, version_uid).values()), None)

    def count(self, tenant: str, version_uid: str) -> int:
        """How many demands wait for a tenant's version."""
        return len(self._queue(tenant, version_uid))

    def tenants(self) -> list[str]:
        """Whose demands wait, the tenant that was served longest ago first."""
        return list(self._queues)

    def wanting(self, tenant: str, creating_count: Callable[[str], int]) -> list[Ticket]:
        """For each version of a tenant, the earliest demand for which nothing is being made; the earliest first.

        Args:
            tenant: The tenant.
            creating_count: How many containers of a version are being made.
        """
        wanting: list[Ticket] = []
        for uid, queue in self._queues.get(tenant, {}).items():
            count = creating_count(uid)
            if count < len(queue):
                wanting.append(next(islice(queue.values(), count, None)))
        return sorted(wanting, key=lambda ticket: ticket.number)

    def take_turn(self, tenant: str) -> None:
        """Notes that a tenant was served, so that it is the others' turn."""
        if versions := self._queues.pop(tenant, None):
            self._queues[tenant] = versions

    def _queue(self, tenant: str, version_uid: str) -> dict[int, Ticket]:
        return self._queues.get(tenant, {}).get(version_uid, {})

    def _add(self, ticket: Ticket) -> None:
        version = ticket.demand.version
        self._queues.setdefault(version.tenant, {}).setdefault(version.uid, {})[ticket.number] = ticket
        self._count += 1
        self._counts[version.tenant] = self._counts.get(version.tenant, 0) + 1
