"""The pool of leases, against a model of it."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from stoker_frontend.lease_pool import Lease, LeasePool

MAX_IDLE = 4
CONCURRENCY = {"one": 1, "two": 2, "many": 5}
versions = st.sampled_from(sorted(CONCURRENCY))
hosts = st.sampled_from(["host-1", "host-2"])


class PoolMachine(RuleBasedStateMachine):
    """Does to a pool whatever can be done, and keeps its own books."""

    uses = Bundle("uses")
    """A lease as often as it is in use."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = LeasePool(MAX_IDLE)
        self.made = 0
        self.now_s = 0.0
        self.held: dict[str, Lease] = {}
        self.running: dict[str, int] = {}
        self.idle: list[tuple[Lease, float]] = []
        self.retiring: set[str] = set()

    @rule(target=uses, version=versions, host=hosts)
    def add(self, version: str, host: str) -> Lease:
        self.made += 1
        lease = Lease(
            f"lease-{self.made}", version, f"c-{self.made}", "vm-1", host, f"{host}:7403", CONCURRENCY[version]
        )
        self.pool.add(lease)
        self.held[lease.id] = lease
        self.running[lease.id] = 1
        return lease

    @rule(lease=consumes(uses))
    def put_back(self, lease: Lease) -> None:
        self.now_s += 1
        surplus = self.pool.put_back(lease, self.now_s)
        if lease.id not in self.held:
            assert surplus is None
            return
        self.running[lease.id] -= 1
        if self.running[lease.id]:
            assert surplus is None
        elif lease.id in self.retiring or len(self.idle) == MAX_IDLE:
            assert surplus == lease
            self._forget(lease)
        else:
            assert surplus is None
            self.idle.append((lease, self.now_s))

    @rule(target=uses, version=versions)
    def take(self, version: str) -> Any:
        taken = self.pool.take(version)
        with_room = [lease for lease in self.held.values() if lease.version_uid == version and self._has_room(lease)]
        if taken is None:
            assert not with_room
            return multiple()  # pyright: ignore[reportUnknownVariableType] - of no values, so of no type
        assert taken in with_room
        assert self.running[taken.id] == max(self.running[lease.id] for lease in with_room), "the fullest comes first"
        if not self.running[taken.id]:
            of_version = [entry for entry in self.idle if entry[0].version_uid == version]
            assert taken == of_version[-1][0], "of the idle ones, the one used last comes first"
        self._use(taken)
        return taken

    @rule(target=uses, lease=uses)
    def lend(self, lease: Lease) -> Any:
        if self.pool.lend(lease):
            assert self._has_room(lease)
            self._use(lease)
            return lease
        assert lease.id not in self.held or not self._has_room(lease)
        return multiple()  # pyright: ignore[reportUnknownVariableType] - as above

    @rule(some=st.sets(versions, min_size=1), count=st.integers(0, 3))
    def retire(self, some: set[str], count: int) -> None:
        candidates = [
            lease for lease in self.held.values() if lease.version_uid in some and lease.id not in self.retiring
        ]
        unused = [lease for lease in candidates if not self.running[lease.id]]
        ended = self.pool.retire(sorted(some), count)
        assert len(ended) == min(count, len(unused)), "those that nobody uses come first"
        assert set(ended) <= set(unused)
        retiring = {lease.id for lease in candidates if self.pool.is_retiring(lease)}
        assert len(retiring) == min(count, len(candidates)) - len(ended)
        self.retiring |= retiring
        for lease in ended:
            self._forget(lease)

    @rule(lease=uses)
    def drop(self, lease: Lease) -> None:
        self.pool.drop(lease.id)
        self._forget(lease)

    @rule(host=hosts)
    def drop_host(self, host: str) -> None:
        lost = [lease for lease in self.held.values() if lease.host == host]
        assert self.pool.drop_host(f"{host}:7403") == len(lost)
        for lease in lost:
            self._forget(lease)

    @rule(age_s=st.integers(0, 5))
    def take_idle(self, age_s: int) -> None:
        before_s = self.now_s - age_s
        old = {lease.id for lease, since_s in self.idle if since_s <= before_s}
        assert {lease.id for lease in self.pool.take_idle_since(before_s)} == old
        for lease_id in old:
            self._forget(self.held[lease_id])

    @invariant()
    def holds_what_it_should(self) -> None:
        assert set(self.pool.held_ids()) == set(self.held)
        assert all(self.pool.holds(lease) for lease in self.held.values())
        for version in CONCURRENCY:
            assert self.pool.count(version) == sum(lease.version_uid == version for lease in self.held.values())

    def _has_room(self, lease: Lease) -> bool:
        return self.running[lease.id] < lease.concurrency and lease.id not in self.retiring

    def _use(self, lease: Lease) -> None:
        self.running[lease.id] += 1
        self.idle = [entry for entry in self.idle if entry[0].id != lease.id]

    def _forget(self, lease: Lease) -> None:
        self.held.pop(lease.id, None)
        self.running.pop(lease.id, None)
        self.idle = [entry for entry in self.idle if entry[0].id != lease.id]


PoolMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLeasePool = PoolMachine.TestCase
