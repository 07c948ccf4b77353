"""Which of those who wait still want a container made, so that a round looks at no others."""

from bisect import bisect_left, insort
from collections.abc import Collection

from stoker_scheduler.waiting import Ticket


class Wanting:
    """For each version of which too few containers are being made, the earliest demand that gets none of them."""

    def __init__(self) -> None:
        self._tickets: dict[str, Ticket] = {}
        self._of_tenant: dict[str, dict[int, list[tuple[int, str]]]] = {}
        """By tenant and memory, the numbers of tickets with their versions, in order."""
        self._sizes: dict[int, int] = {}
        """By memory, how many versions there are."""

    def __len__(self) -> int:
        return len(self._tickets)

    def tenants(self) -> Collection[str]:
        """Whose demands they are."""
        return self._of_tenant.keys()

    def put(self, version_uid: str, ticket: Ticket | None) -> None:
        """Notes the demand of a version for which the next container would be made; None where enough are."""
        before = self._tickets.get(version_uid)
        if before == ticket:
            return
        if before:
            self._remove(version_uid, before)
        if ticket:
            self._add(version_uid, ticket)

    def least_mib(self) -> int:
        """The memory of the smallest container that is wanted, in MiB; there is one."""
        return min(self._sizes)

    def largest_mib(self) -> int:
        """The memory of the largest container that is wanted, in MiB; there is one."""
        return max(self._sizes)

    def least_of_mib(self, tenant: str) -> int:
        """The memory of the smallest container that a tenant wants, in MiB; there is one."""
        return min(self._of_tenant[tenant])

    def oldest(self, tenant: str) -> Ticket | None:
        """A tenant's demand that came first."""
        return self.earliest(tenant, None)

    def earliest(self, tenant: str, reach_mib: int | None) -> Ticket | None:
        """A tenant's demand that came first, of those for containers of at most this memory."""
        heads = [
            order[0]
            for memory_mib, order in self._of_tenant.get(tenant, {}).items()
            if reach_mib is None or memory_mib <= reach_mib
        ]
        return self._tickets[min(heads)[1]] if heads else None

    def largest(self) -> Ticket:
        """A demand for a container of the most memory; there is one."""
        largest_mib = self.largest_mib()
        return next(
            self._tickets[sizes[largest_mib][0][1]] for sizes in self._of_tenant.values() if largest_mib in sizes
        )

    def in_order(self, tenant: str) -> list[Ticket]:
        """A tenant's demands, the earliest first."""
        entries = sorted(entry for order in self._of_tenant.get(tenant, {}).values() for entry in order)
        return [self._tickets[uid] for _, uid in entries]

    def _add(self, uid: str, ticket: Ticket) -> None:
        memory_mib = ticket.demand.version.memory_mib
        self._tickets[uid] = ticket
        sizes = self._of_tenant.setdefault(ticket.demand.version.tenant, {})
        insort(sizes.setdefault(memory_mib, []), (ticket.number, uid))
        self._sizes[memory_mib] = self._sizes.get(memory_mib, 0) + 1

    def _remove(self, uid: str, ticket: Ticket) -> None:
        version = ticket.demand.version
        del self._tickets[uid]
        sizes = self._of_tenant[version.tenant]
        order = sizes[version.memory_mib]
        del order[bisect_left(order, (ticket.number, uid))]
        if not order:
            del sizes[version.memory_mib]
            if not sizes:
                del self._of_tenant[version.tenant]
        self._sizes[version.memory_mib] -= 1
        if not self._sizes[version.memory_mib]:
            del self._sizes[version.memory_mib]
