"""The pool of leases, against a model of it."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from stoker_frontend.lease_pool import Lease, LeasePool

MAX_IDLE = 4
versions = st.sampled_from(["v1", "v2"])
hosts = st.sampled_from(["host-1", "host-2"])


class PoolMachine(RuleBasedStateMachine):
    """Does to a pool whatever can be done, and keeps its own books."""

    in_use = Bundle("in_use")

    def __init__(self) -> None:
        super().__init__()
        self.pool = LeasePool(MAX_IDLE)
        self.made = 0
        self.now_s = 0.0
        self.held: dict[str, Lease] = {}
        self.idle: list[tuple[Lease, float]] = []

    @rule(target=in_use, version=versions, host=hosts)
    def add(self, version: str, host: str) -> Lease:
        self.made += 1
        lease = Lease(f"lease-{self.made}", version, f"c-{self.made}", "vm-1", host, f"{host}:7403")
        self.pool.add(lease)
        self.held[lease.id] = lease
        return lease

    @rule(lease=consumes(in_use))
    def put_back(self, lease: Lease) -> None:
        self.now_s += 1
        surplus = self.pool.put_back(lease, self.now_s)
        if lease.id not in self.held:
            assert surplus is None
        elif len(self.idle) == MAX_IDLE:
            assert surplus == lease
            del self.held[lease.id]
        else:
            assert surplus is None
            self.idle.append((lease, self.now_s))

    @rule(target=in_use, version=versions)
    def take(self, version: str) -> Any:
        taken = self.pool.take(version)
        of_version = [entry for entry in self.idle if entry[0].version_uid == version]
        assert taken == (of_version[-1][0] if of_version else None), "the one used last comes first"
        if taken is None:
            return multiple()  # pyright: ignore[reportUnknownVariableType] - of no values, so of no type
        self.idle.remove(of_version[-1])
        return taken

    @rule(lease=in_use)
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

    def _forget(self, lease: Lease) -> None:
        self.held.pop(lease.id, None)
        self.idle = [entry for entry in self.idle if entry[0].id != lease.id]


PoolMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLeasePool = PoolMachine.TestCase
