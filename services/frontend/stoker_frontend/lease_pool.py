"""The leases that the frontend holds: which are in use, which wait for the next invocation.

Of one version's idle leases the one used last is used next, so that the others fall idle long enough to be given back.
Everything here is without I/O or clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send invocations of one version to one container."""

    id: str
    version_uid: str
    container: str
    vm: str
    host: str
    host_address: str


class LeasePool:
    """Held leases, by version and by host."""

    def __init__(self, max_idle: int) -> None:
        self._max_idle = max_idle
        self._held: dict[str, Lease] = {}
        # Each version's idle leases with the time since when, in the order in which they fell idle.
        self._idle: dict[str, dict[str, float]] = {}
        self._idle_count = 0

    def add(self, lease: Lease) -> None:
        """Takes up a lease that is about to be used."""
        self._held[lease.id] = lease

    def take(self, version_uid: str) -> Lease | None:
        """The idle lease of the version that was used last, in use from now on; None where there is none."""
        idle = self._idle.get(version_uid)
        if idle is None:
            return None
        lease_id, _ = idle.popitem()
        self._idle_count -= 1
        if not idle:
            del self._idle[version_uid]
        return self._held[lease_id]

    def holds(self, lease: Lease) -> bool:
        """Whether the lease still counts."""
        return lease.id in self._held

    def put_back(self, lease: Lease, now_s: float) -> Lease | None:
        """Lets a lease in use fall idle; one that no longer counts is forgotten.

        Returns:
            The lease again if there are too many idle ones: then it is no longer held, and must be given back.
        """
        if lease.id not in self._held:
            return None
        if self._idle_count >= self._max_idle:
            del self._held[lease.id]
            return lease
        self._idle.setdefault(lease.version_uid, {})[lease.id] = now_s
        self._idle_count += 1
        return None

    def drop(self, lease_id: str) -> None:
        """Forgets a lease, which has ended."""
        lease = self._held.pop(lease_id, None)
        if lease is not None:
            self._remove_idle(lease)

    def drop_host(self, host_address: str) -> int:
        """Forgets the leases on a host, and returns how many they were."""
        lost = [lease for lease in self._held.values() if lease.host_address == host_address]
        for lease in lost:
            self.drop(lease.id)
        return len(lost)

    def take_idle_since(self, before_s: float) -> list[Lease]:
        """Forgets and returns the leases that have been idle since `before_s` or longer, to be given back."""
        unused = [
            self._held[lease_id] for idle in self._idle.values() for lease_id in _idle_since(idle.items(), before_s)
        ]
        for lease in unused:
            self.drop(lease.id)
        return unused

    def held_ids(self) -> list[str]:
        """The ids of all held leases."""
        return list(self._held)

    def _remove_idle(self, lease: Lease) -> None:
        idle = self._idle.get(lease.version_uid)
        if idle is not None and idle.pop(lease.id, None) is not None:
            self._idle_count -= 1
            if not idle:
                del self._idle[lease.version_uid]


def _idle_since(idle: Iterable[tuple[str, float]], before_s: float) -> Iterable[str]:
    for lease_id, since_s in idle:
        if since_s > before_s:
            return
        yield lease_id
