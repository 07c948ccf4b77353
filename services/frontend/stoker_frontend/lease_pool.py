"""The leases that the frontend holds: how many invocations use each, which wait for the next one.

An invocation gets the fullest lease of its version that still has room. Of those that nobody uses, the one used last is
used next. So the others fall idle long enough to be given back. Everything here is without I/O or clock.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send invocations of one version to one container."""

    id: str
    version_uid: str
    container: str
    vm: str
    host: str
    host_address: str
    concurrency: int = 1
    """How many may run there at once."""


@dataclass(slots=True)
class _Held:
    lease: Lease
    running: int = 0
    is_retiring: bool = False
    """Whether nobody else may use it, so that it ends with those that do."""


@dataclass(slots=True)
class _OfVersion:
    """The leases of one version that have room."""

    idle: dict[str, float] = field(default_factory=dict[str, float])
    """Those that nobody uses, with the time since when, in the order in which they fell idle."""
    used: dict[int, dict[str, None]] = field(default_factory=dict[int, dict[str, None]])
    """The others, by how many invocations use them."""


class LeasePool:
    """Held leases, by version and by host."""

    def __init__(self, max_idle: int) -> None:
        self._max_idle = max_idle
        self._held: dict[str, _Held] = {}
        self._with_room: dict[str, _OfVersion] = {}
        self._counts: Counter[str] = Counter()
        self._idle_count = 0

    def add(self, lease: Lease) -> None:
        """Takes up a lease that is about to be used by one invocation."""
        self._held[lease.id] = held = _Held(lease)
        self._counts[lease.version_uid] += 1
        self._use(held)

    def take(self, version_uid: str) -> Lease | None:
        """The lease of the version to use next, in use from now on; None where there is none with room."""
        of_version = self._with_room.get(version_uid)
        if of_version is None:
            return None
        candidates = of_version.used[max(of_version.used)] if of_version.used else of_version.idle
        held = self._held[next(reversed(candidates))]
        self._use(held)
        return held.lease

    def lend(self, lease: Lease) -> bool:
        """Lets one more invocation use a lease; False where that has no room, or no longer counts."""
        held = self._held.get(lease.id)
        if held is None or held.running >= lease.concurrency or held.is_retiring:
            return False
        self._use(held)
        return True

    def holds(self, lease: Lease) -> bool:
        """Whether the lease still counts."""
        return lease.id in self._held

    def is_retiring(self, lease: Lease) -> bool:
        """Whether the lease ends as soon as nobody uses it."""
        held = self._held.get(lease.id)
        return held is not None and held.is_retiring

    def count(self, version_uid: str) -> int:
        """How many leases of a version are held."""
        return self._counts[version_uid]

    def retire(self, version_uids: Sequence[str], count: int) -> list[Lease]:
        """Lets so many leases of some versions end: those that nobody uses at once, the others as soon as nobody does.

        Returns:
            Those that nobody uses: they are no longer held, and must be given back.
        """
        ending: list[Lease] = []
        if not any(self._counts[uid] for uid in version_uids):
            return ending
        wanted = set(version_uids)
        candidates = [held for held in self._held.values() if held.lease.version_uid in wanted and not held.is_retiring]
        for held in sorted(candidates, key=lambda held: held.running)[:count]:
            if held.running:
                self._leave(held)
                held.is_retiring = True
            else:
                ending.append(held.lease)
                self.drop(held.lease.id)
        return ending

    def put_back(self, lease: Lease, now_s: float) -> Lease | None:
        """Ends the use of a lease by one invocation; one that no longer counts is forgotten.

        Returns:
            The lease again if nobody uses it and it is retiring, or there are too many idle ones: then it is no longer
            held, and must be given back.
        """
        held = self._held.get(lease.id)
        if held is None:
            return None
        self._leave(held)
        held.running -= 1
        if held.running == 0 and (held.is_retiring or self._idle_count >= self._max_idle):
            self._forget(lease.id)
            return lease
        self._enter(held, now_s)
        return None

    def drop(self, lease_id: str) -> None:
        """Forgets a lease, which has ended."""
        if held := self._held.get(lease_id):
            self._leave(held)
            self._forget(lease_id)

    def drop_host(self, host_address: str) -> int:
        """Forgets the leases on a host, and returns how many they were."""
        lost = [held.lease for held in self._held.values() if held.lease.host_address == host_address]
        for lease in lost:
            self.drop(lease.id)
        return len(lost)

    def take_idle_since(self, before_s: float) -> list[Lease]:
        """Forgets and returns the leases that have been idle since `before_s` or longer, to be given back."""
        unused = [
            self._held[lease_id].lease
            for of_version in self._with_room.values()
            for lease_id in _idle_since(of_version.idle.items(), before_s)
        ]
        for lease in unused:
            self.drop(lease.id)
        return unused

    def held_ids(self) -> list[str]:
        """The ids of all held leases."""
        return list(self._held)

    def _forget(self, lease_id: str) -> None:
        version_uid = self._held.pop(lease_id).lease.version_uid
        self._counts[version_uid] -= 1
        if not self._counts[version_uid]:
            del self._counts[version_uid]

    def _use(self, held: _Held) -> None:
        self._leave(held)
        held.running += 1
        self._enter(held, 0.0)

    def _enter(self, held: _Held, now_s: float) -> None:
        """Enters a lease where it belongs, if it has room."""
        lease = held.lease
        if held.running >= lease.concurrency or held.is_retiring:
            return
        of_version = self._with_room.get(lease.version_uid)
        if of_version is None:
            of_version = self._with_room[lease.version_uid] = _OfVersion()
        if held.running:
            of_version.used.setdefault(held.running, {})[lease.id] = None
        else:
            of_version.idle[lease.id] = now_s
            self._idle_count += 1

    def _leave(self, held: _Held) -> None:
        """Strikes a lease out where it is entered, if it is."""
        lease = held.lease
        of_version = self._with_room.get(lease.version_uid)
        if of_version is None:
            return
        if of_version.idle.pop(lease.id, None) is not None:
            self._idle_count -= 1
        elif (alike := of_version.used.get(held.running)) is not None:
            alike.pop(lease.id, None)
            if not alike:
                del of_version.used[held.running]
        if not of_version.idle and not of_version.used:
            del self._with_room[lease.version_uid]


def _idle_since(idle: Iterable[tuple[str, float]], before_s: float) -> Iterable[str]:
    for lease_id, since_s in idle:
        if since_s > before_s:
            return
        yield lease_id
