"""Demands that wait for a container.

A demand wants any container of its version. So it is not tied to the one that is being made because of it: the first
container of the version that falls idle goes to the demand that has waited longest, and as many containers are made as
demands wait, less those that are being made already. What is made in the end for nobody stays warm.

Within a tenant it is first come, first served; a demand that finds no room lets later ones pass for a while. The
tenants take turns, as `turns.py` tells.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from stoker_scheduler import errors
from stoker_scheduler.machines import Demand, FunctionKey
from stoker_scheduler.turns import Turns

Key = TypeVar("Key", str, FunctionKey)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A demand's place in the queue."""

    number: int
    """The less, the earlier it came."""
    demand: Demand
    since_s: float = 0.0
    """When it came."""


class Waiting:
    """The queue."""

    def __init__(self, limit: int, limit_per_tenant: int, weights: Mapping[str, float] | None = None) -> None:
        """Begins empty.

        Args:
            limit: How many demands may wait at once.
            limit_per_tenant: How many of them may be one tenant's.
            weights: How much tenants get in proportion to each other; 1 for one that is not named.
        """
        self._limit = limit
        self._limit_per_tenant = limit_per_tenant
        self._last_number = 0
        self._count = 0
        self._counts: dict[str, int] = {}
        self._function_counts: dict[FunctionKey, int] = {}
        self._queues: dict[str, dict[int, Ticket]] = {}
        """By version."""
        self._turns = Turns(weights)
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return self._count

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket.number in self._queues.get(ticket.demand.version.uid, ())

    def join(self, demand: Demand, now_s: float = 0.0) -> Ticket:
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
        ticket = Ticket(self._last_number, demand, now_s)
        self._add(ticket)
        return ticket

    def rejoin(self, ticket: Ticket) -> None:
        """Puts a demand that has left back into its old place, whatever the limits."""
        if ticket not in self:
            self._add(ticket)
            uid = ticket.demand.version.uid
            self._queues[uid] = dict(sorted(self._queues[uid].items()))

    def leave(self, ticket: Ticket) -> bool:
        """Removes a demand; returns whether it was waiting."""
        version = ticket.demand.version
        queue = self._queues.get(version.uid, {})
        if queue.pop(ticket.number, None) is None:
            return False
        if not queue:
            del self._queues[version.uid]
        self._changed[version.uid] = None
        self._count -= 1
        _count_down(self._function_counts, version.key)
        _count_down(self._counts, version.tenant)
        if version.tenant not in self._counts:
            self._turns.leave(version.tenant)
        return True

    def first(self, version_uid: str) -> Ticket | None:
        """The demand that has waited longest for a version."""
        return next(iter(self._queues.get(version_uid, {}).values()), None)

    def nth(self, version_uid: str, number: int) -> Ticket | None:
        """The demand for a version that has so many before it."""
        return next(islice(self._queues.get(version_uid, {}).values(), number, None), None)

    def count(self, version_uid: str) -> int:
        """How many demands wait for a version."""
        return len(self._queues.get(version_uid, ()))

    def count_of_function(self, function: FunctionKey) -> int:
        """How many demands wait for versions of a function."""
        return self._function_counts.get(function, 0)

    def versions(self) -> list[str]:
        """The versions that are waited for."""
        return list(self._queues)

    def tenants(self) -> list[str]:
        """Whose demands wait, in the order in which it is their turn."""
        return list(self._turns)

    def in_turn(self) -> Iterator[str]:
        """The same, one after the other; to be left as soon as anything changes."""
        return iter(self._turns)

    def take_turn(self, tenant: str) -> None:
        """Notes that a tenant that waits is granted something, so that it is the others' turn."""
        self._turns.charge(tenant)

    def take_changed(self) -> dict[str, None]:
        """The versions of which a demand came or went since this was last asked."""
        changed, self._changed = self._changed, {}
        return changed

    def _add(self, ticket: Ticket) -> None:
        version = ticket.demand.version
        self._queues.setdefault(version.uid, {})[ticket.number] = ticket
        self._changed[version.uid] = None
        self._count += 1
        self._function_counts[version.key] = self._function_counts.get(version.key, 0) + 1
        if version.tenant not in self._counts:
            self._turns.join(version.tenant)
        self._counts[version.tenant] = self._counts.get(version.tenant, 0) + 1


def _count_down(counts: dict[Key, int], key: Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
