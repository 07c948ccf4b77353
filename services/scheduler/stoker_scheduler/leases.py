"""Leases: who may send invocations to which container, and for how long.

The table has no clock: whoever asks says what time it is. All leases hold for the same time from when they were granted
or renewed, so the order in which that happened is the order in which they expire.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stoker_scheduler.limits import Usage
from stoker_scheduler.machines import FunctionKey


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one holder to send invocations to one container."""

    id: str
    container: str
    host: str
    holder: str
    expires_s: float
    function: FunctionKey = ("", "")
    """What runs in the container."""
    concurrency: int = 1
    """How many invocations may run under it at once."""


class LeaseTable:
    """All leases that hold."""

    def __init__(self, ttl_s: float, usage: Usage | None = None) -> None:
        """Begins without any.

        Args:
            ttl_s: How long a lease holds without being renewed, in seconds.
            usage: Where it is counted how many invocations may run.
        """
        self.ttl_s = ttl_s
        self._usage = usage or Usage()
        self._leases: dict[str, Lease] = {}
        """First those that expire first."""
        self._of_container: dict[str, str] = {}
        self._of_host: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._leases)

    def of_container(self, container: str) -> Lease | None:
        """The lease that a container is under."""
        lease_id = self._of_container.get(container)
        return self._leases[lease_id] if lease_id else None

    def grant(
        self,
        lease_id: str,
        *,
        container: str,
        host: str,
        holder: str,
        now_s: float,
        function: FunctionKey = ("", ""),
        concurrency: int = 1,
    ) -> Lease:
        """Begins a lease. A container is under one lease, so another that it was under ends."""
        self.end(lease_id)
        self.end_of_container(container)
        lease = Lease(lease_id, container, host, holder, now_s + self.ttl_s, function, concurrency)
        self._usage.change(function, concurrency)
        self._leases[lease_id] = lease
        self._of_container[container] = lease_id
        self._of_host[host][lease_id] = None
        return lease

    def renew(self, lease_id: str, now_s: float) -> bool:
        """Prolongs a lease; returns whether it still held."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.expires_s <= now_s:
            return False
        del self._leases[lease_id]
        self._leases[lease_id] = replace(lease, expires_s=now_s + self.ttl_s)
        return True

    def end(self, lease_id: str) -> Lease | None:
        """Ends a lease and returns it; None where it has ended already."""
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return None
        self._usage.change(lease.function, -lease.concurrency)
        del self._of_container[lease.container], self._of_host[lease.host][lease_id]
        if not self._of_host[lease.host]:
            del self._of_host[lease.host]
        return lease

    def end_of_container(self, container: str) -> Lease | None:
        """Ends the lease that a container is under, and returns it."""
        return self.end(self._of_container.get(container, ""))

    def end_of_host(self, host: str) -> list[Lease]:
        """Ends all leases on a host, and returns them."""
        return self._end_all(list(self._of_host.get(host, ())))

    def end_of_holder(self, host: str, holder: str) -> list[Lease]:
        """Ends the leases that somebody holds on a host, and returns them."""
        held = self._of_host.get(host, ())
        return self._end_all([lease_id for lease_id in held if self._leases[lease_id].holder == holder])

    def end_expired(self, now_s: float) -> list[Lease]:
        """Ends the leases whose time has passed, and returns them."""
        expired: list[str] = []
        for lease in self._leases.values():
            if lease.expires_s > now_s:
                break
            expired.append(lease.id)
        return self._end_all(expired)

    def _end_all(self, lease_ids: Iterable[str]) -> list[Lease]:
        return [lease for lease_id in lease_ids if (lease := self.end(lease_id))]
