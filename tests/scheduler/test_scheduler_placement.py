"""Where containers are placed: the order of the search, its ties, and what never happens."""

from itertools import count
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from stoker_scheduler.dispatch import Dispatcher, Hand, Make, TurnAway
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.leases import LeaseTable
from stoker_scheduler.machines import Container, ContainerState, Demand, Host, Shape, Version, Vm, VmState
from stoker_scheduler.placement import (
    AddContainer,
    AssignVm,
    CreateVm,
    Refuse,
    UseContainer,
    Wait,
    place,
)
from stoker_scheduler.waiting import Waiting
from stoker_scheduler.warming_pool import PoolPolicy

from tests.scheduler.values import (
    NODEJS,
    PYTHON,
    RESERVE_MIB,
    SHAPE,
    VM_MIB,
    a_demand,
    a_fleet,
    a_version,
    put_container,
    put_vm,
)

IDLE, LEASED, CREATING = ContainerState.IDLE, ContainerState.LEASED, ContainerState.CREATING


def a_full_choice() -> Fleet:
    """A fleet that offers everything the search looks for, best last."""
    fleet = a_fleet(2048, 4096)
    put_vm(fleet, "vm-booting-for-pool", state=VmState.CREATING)
    put_vm(fleet, "vm-booting-for-acme", tenant="acme", state=VmState.CREATING)
    put_vm(fleet, "vm-warming")
    put_vm(fleet, "vm-other", tenant="other")
    put_vm(fleet, "vm-acme", "h2", tenant="acme")
    put_vm(fleet, "vm-acme-with-code", "h2", tenant="acme")
    return fleet


def test_the_search_goes_from_the_fastest_to_the_slowest() -> None:
    fleet, demand = a_full_choice(), a_demand(artifact="c")
    put_vm(fleet, "vm-acme-loaded", "h1", tenant="acme")
    put_container(fleet, "c-idle", "vm-acme-loaded", demand.version, IDLE)

    found: list[Any] = []
    for gone in ("vm-acme-loaded", "vm-acme-with-code", "vm-acme", "vm-warming", "vm-booting-for-acme"):
        found.append(place(demand, fleet))
        fleet.remove_vm(gone, 0.0)
    found.append(place(demand, fleet))
    fleet.remove_vm("vm-booting-for-pool", 0.0)
    found.append(place(demand, fleet))

    assert found == [
        UseContainer("c-idle"),
        AddContainer("vm-acme"),
        AddContainer("vm-acme"),
        AssignVm("vm-warming"),
        AddContainer("vm-booting-for-acme"),
        AssignVm("vm-booting-for-pool"),
        CreateVm("h1", SHAPE),
    ]


def test_a_vm_on_a_host_that_has_the_code_comes_before_a_tighter_one_elsewhere() -> None:
    fleet = a_fleet(1024, 1024)
    put_vm(fleet, "vm-tight", "h1", tenant="acme")
    put_container(fleet, "c-1", "vm-tight", a_version("other", memory_mib=200, artifact="b"), LEASED)
    put_vm(fleet, "vm-code", "h2", tenant="acme")
    put_container(fleet, "c-2", "vm-code", a_version("old", artifact="a"), LEASED)
    fleet.remove_container("c-2", 0.0)

    assert place(a_demand(artifact="a"), fleet) == AddContainer("vm-code")
    assert place(a_demand(artifact="c"), fleet) == AddContainer("vm-tight")


def test_what_another_tenant_has_in_its_code_cache_counts_for_nothing() -> None:
    fleet = a_fleet(2048, 2048)
    put_vm(fleet, "vm-1", "h1", tenant="acme")
    put_vm(fleet, "vm-other", "h2", tenant="other")
    put_vm(fleet, "vm-2", "h2", tenant="acme")
    put_container(fleet, "c-1", "vm-other", a_version("x", tenant="other", artifact="a"), LEASED)
    assert place(a_demand(artifact="a"), fleet) == AddContainer("vm-1")


def test_ties_go_to_the_tightest_and_then_to_the_least_id() -> None:
    fleet = a_fleet(1024, 512, 512)
    assert place(a_demand(), fleet) == CreateVm("h2", SHAPE)

    put_vm(fleet, "vm-b", "h2", tenant="acme")
    put_vm(fleet, "vm-a", "h3", tenant="acme")
    assert place(a_demand(), fleet) == AddContainer("vm-a")

    put_container(fleet, "c-1", "vm-b", a_version("x", memory_mib=200, artifact="b"), LEASED)
    assert place(a_demand(), fleet) == AddContainer("vm-b")
    assert place(a_demand(memory_mib=256), fleet) == AddContainer("vm-a")


def test_an_idle_container_in_the_fullest_vm_is_used_first() -> None:
    fleet = a_fleet(1024)
    put_vm(fleet, "vm-1", tenant="acme")
    put_vm(fleet, "vm-2", tenant="acme")
    put_container(fleet, "c-1", "vm-1", a_version(), IDLE)
    put_container(fleet, "c-2", "vm-2", a_version(), IDLE)
    put_container(fleet, "c-3", "vm-2", a_version("x"), LEASED)
    assert place(a_demand(), fleet) == UseContainer("c-2")


def test_a_vm_with_a_blank_of_the_runtime_comes_before_a_tighter_one_without() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-tight", tenant="acme", blanks=((NODEJS, 1),))
    put_container(fleet, "c-1", "vm-tight", a_version("x", artifact="x"), LEASED)
    put_vm(fleet, "vm-blank", tenant="acme", blanks=((PYTHON, 1),))
    assert place(Demand(a_version(artifact="y"), "f"), fleet) == AddContainer("vm-blank")
    assert place(Demand(a_version(artifact="y", runtime=NODEJS), "f"), fleet) == AddContainer("vm-tight")
    # A step of the search comes before what is preferred within one.
    assert place(Demand(a_version("new", artifact="x", runtime=NODEJS), "f"), fleet) == AddContainer("vm-tight")


def test_a_blank_that_a_container_is_to_get_is_not_promised_twice() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-1", blanks=((PYTHON, 1),))
    put_vm(fleet, "vm-2", tenant="acme", blanks=((PYTHON, 1),))
    put_vm(fleet, "vm-3", tenant="acme", blanks=((PYTHON, 1),))
    found: list[Any] = []
    for number in range(3):
        placement = place(Demand(a_version(f"v{number}", memory_mib=64), "f"), fleet)
        assert isinstance(placement, AddContainer)
        found.append(placement.vm)
        put_container(fleet, f"c-{number}", placement.vm, a_version(f"v{number}", memory_mib=64), CREATING)
    assert found == ["vm-2", "vm-3", "vm-2"]


def test_a_vm_takes_only_so_many_containers_for_each_processor() -> None:
    fleet = Fleet(SHAPE, RESERVE_MIB, containers_per_vcpu=2)
    fleet.add_host(Host("h1", "127.0.0.1:1", 4096))
    put_vm(fleet, "vm-1", tenant="acme")
    put_vm(fleet, "vm-2", tenant="acme", shape=Shape(2, 512))
    for number in range(6):
        placement = place(Demand(a_version(f"v{number}", memory_mib=10), "f"), fleet)
        assert isinstance(placement, AddContainer)
        put_container(fleet, f"c-{number}", placement.vm, a_version(f"v{number}", memory_mib=10), LEASED)
    assert [len(fleet.containers_in(vm)) for vm in ("vm-1", "vm-2")] == [2, 4]
    assert place(Demand(a_version("next", memory_mib=10), "f"), fleet) == CreateVm("h1", SHAPE)
    fleet.remove_container("c-5", 0.0)
    assert place(Demand(a_version("next", memory_mib=10), "f"), fleet) == AddContainer("vm-2")


@pytest.mark.parametrize(
    ("memory_mib", "vm_mib"),
    [(VM_MIB, 512), (VM_MIB + 1, 1024), (900, 2048), (1024 - RESERVE_MIB - 512 // 32, 1024)],
)
def test_a_large_container_gets_the_least_power_of_two_multiple(memory_mib: int, vm_mib: int) -> None:
    assert place(a_demand(memory_mib=memory_mib), a_fleet(8192)) == CreateVm("h1", Shape(1, vm_mib))


def test_a_vms_own_word_replaces_the_estimate_of_its_shape() -> None:
    fleet = a_fleet(8192)
    fleet.learn(SHAPE, 300)
    assert place(a_demand(memory_mib=301), fleet) == CreateVm("h1", Shape(1, 1024))


def test_what_no_host_can_ever_hold_is_refused_with_the_largest_it_could() -> None:
    assert place(a_demand(memory_mib=900), a_fleet(512, 1024)) == Refuse(1024 - RESERVE_MIB - 16)
    assert place(a_demand(memory_mib=300_000), a_fleet(1 << 20)) == Refuse(
        262_144 - RESERVE_MIB - (262_144 - 512) // 32
    )


def test_what_only_has_no_room_now_waits() -> None:
    fleet = a_fleet(512)
    put_vm(fleet, "vm-other", tenant="other")
    assert place(a_demand(), fleet) == Wait()
    assert place(a_demand(), a_fleet()) == Wait()


def test_a_resting_host_gets_no_new_vm_and_its_vms_go_on() -> None:
    fleet = a_fleet(1024)
    fleet.rest_host("h1")
    assert place(a_demand(), fleet) == Wait()
    put_vm(fleet, "vm-1", tenant="acme")
    assert place(a_demand(), fleet) == AddContainer("vm-1")
    fleet.remove_vm("vm-1", 0.0)
    fleet.wake_host("h1")
    assert place(a_demand(), fleet) == CreateVm("h1", SHAPE)


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault of what is tested."""

TENANTS, SIZES = ("acme", "other", "third"), (64, 128, 200, 400, 500, 900)
ALL_VERSIONS = [
    a_version(f"{tenant}-{size}-{artifact}", tenant, size, artifact, PYTHON if artifact == "a" else NODEJS)
    for tenant in TENANTS
    for size in SIZES
    for artifact in "ab"
]
versions = st.sampled_from(ALL_VERSIONS)
CONTAINERS_PER_VCPU = 3
BLANKS = ((), ((PYTHON, 1),), ((NODEJS, 1), (PYTHON, 2)))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Fleets that keep within their memory and processors, whatever is in them."""
    fleet = Fleet(SHAPE, RESERVE_MIB, containers_per_vcpu=CONTAINERS_PER_VCPU)
    for number, memory_mib in enumerate(draw(st.lists(st.sampled_from((256, 512, 1024, 3072)), max_size=4))):
        fleet.add_host(Host(f"h{number}", f"127.0.0.1:{number}", memory_mib))
    ids = count(1)
    for host in list(fleet.hosts):
        for shape in draw(st.lists(st.sampled_from((SHAPE, Shape(1, 1024))), max_size=4)):
            if fleet.host_free_mib(host.id) < shape.memory_mib:
                continue
            vm = f"vm-{next(ids)}"
            state = draw(st.sampled_from(VmState))
            tenant = draw(st.sampled_from(TENANTS if state >= VmState.ASSIGNING else ("", *TENANTS)))
            put_vm(fleet, vm, host.id, tenant=tenant, state=state, shape=shape, blanks=draw(st.sampled_from(BLANKS)))
            for version in draw(st.lists(versions, max_size=4)) if tenant else ():
                if version.tenant == tenant and version.memory_mib <= fleet.vm_room(vm).memory_mib:
                    is_active = state is VmState.ACTIVE
                    container_state = draw(st.sampled_from(ContainerState)) if is_active else CREATING
                    put_container(fleet, f"c-{next(ids)}", vm, version, container_state)
    return fleet


def fits_somewhere(version: Version, fleet: Fleet) -> bool:
    """Whether a demand could be served at once, found out the slow way."""
    if any(container.version == version and container.state is IDLE for container in fleet.containers):
        return True
    for vm in fleet.vms:
        is_open = vm.state is not VmState.ENDING
        is_free = vm.tenant == version.tenant or (not vm.tenant and vm.state in (VmState.CREATING, VmState.WARMING))
        if is_open and is_free and has_slot(fleet, vm) and free_of_vm(fleet, vm) >= version.memory_mib:
            return True
    shapes = [Shape(1, 512 << power) for power in range(4)]
    fitting = [shape for shape in shapes if fleet.container_memory_mib(shape) >= version.memory_mib]
    return any(free_of_host(fleet, host) >= fitting[0].memory_mib for host in fleet.hosts)


def has_slot(fleet: Fleet, vm: Vm) -> bool:
    return sum(container.vm == vm.id for container in fleet.containers) < CONTAINERS_PER_VCPU * vm.shape.vcpus


def has_blank(fleet: Fleet, vm: Vm, version: Version) -> bool:
    creating = sum(
        container.vm == vm.id and container.state is CREATING and container.version.runtime == version.runtime
        for container in fleet.containers
    )
    return dict(vm.blanks).get(version.runtime, 0) > creating


def free_of_vm(fleet: Fleet, vm: Vm) -> int:
    used = sum(container.version.memory_mib for container in fleet.containers if container.vm == vm.id)
    return vm.container_memory_mib - used


def free_of_host(fleet: Fleet, host: Host) -> int:
    return host.memory_mib - sum(vm.shape.memory_mib for vm in fleet.vms if vm.host == host.id)


def assert_best_of_its_step(fleet: Fleet, chosen: Vm, version: Version) -> None:
    """Of the VMs that the same step of the search offers, it has a blank, or the least room, or the least id."""

    def step_of(vm: Vm) -> tuple[bool, str, bool]:
        artifacts = {
            container.version.artifact_sha256
            for container in fleet.containers
            if (on := fleet.vm(container.vm)).host == vm.host and on.tenant == vm.tenant
        }
        is_booting = vm.state is VmState.CREATING
        return is_booting, vm.tenant, not is_booting and version.artifact_sha256 in artifacts

    def rank_of(vm: Vm) -> tuple[bool, int, str]:
        is_blank = vm.state is not VmState.CREATING and has_blank(fleet, vm, version)
        return not is_blank, free_of_vm(fleet, vm), vm.id

    offered = [
        vm
        for vm in fleet.vms
        if vm.state is not VmState.ENDING
        and step_of(vm) == step_of(chosen)
        and has_slot(fleet, vm)
        and free_of_vm(fleet, vm) >= version.memory_mib
        and (vm.tenant or vm.state <= VmState.WARMING)
    ]
    assert min(offered, key=rank_of) == chosen


@given(fleets(), versions)
@settings(UNHURRIED, max_examples=200)
def test_whatever_is_chosen_fits_and_what_fits_is_served(fleet: Fleet, version: Version) -> None:
    placement = place(Demand(version, "f"), fleet)
    match placement:
        case UseContainer(container):
            chosen = fleet.container(container)
            assert (chosen.version, chosen.state) == (version, IDLE)
        case AddContainer(vm):
            assert fleet.vm(vm).tenant == version.tenant
            assert has_slot(fleet, fleet.vm(vm))
            assert free_of_vm(fleet, fleet.vm(vm)) >= version.memory_mib
            assert_best_of_its_step(fleet, fleet.vm(vm), version)
        case AssignVm(vm):
            assert fleet.vm(vm).tenant == ""
            assert free_of_vm(fleet, fleet.vm(vm)) >= version.memory_mib
            assert_best_of_its_step(fleet, fleet.vm(vm), version)
        case CreateVm(host, shape):
            assert free_of_host(fleet, fleet.host(host)) >= shape.memory_mib
            assert fleet.container_memory_mib(shape) >= version.memory_mib
        case Wait() | Refuse():
            assert not fits_somewhere(version, fleet)
    if isinstance(placement, Refuse):
        shapes = [Shape(1, 512 << power) for power in range(4)]
        possible = [shape for shape in shapes if any(shape.memory_mib <= host.memory_mib for host in fleet.hosts)]
        largest_mib = max((fleet.container_memory_mib(shape) for shape in possible), default=0)
        assert placement.largest_mib == largest_mib < version.memory_mib
    assert place(Demand(version, "f"), fleet) == placement


class Scheduling(RuleBasedStateMachine):
    """Demands, leases and hosts come and go in any order; the fleet is checked the slow way after each step."""

    containers = Bundle("containers")

    def __init__(self) -> None:
        super().__init__()
        self.ids = count(1)
        self.now_s = 0.0
        self.fleet = Fleet(SHAPE, RESERVE_MIB, containers_per_vcpu=CONTAINERS_PER_VCPU)
        self.waiting = Waiting(50, 20)
        self.leases = LeaseTable(10.0)
        self.dispatcher = Dispatcher(
            self.fleet, self.waiting, lambda prefix: f"{prefix}{next(self.ids):06}", overtaken_s=inf
        )
        self.holders: dict[int, str] = {}

    @rule(memory_mib=st.sampled_from((512, 1024, 2048)))
    def host_joins(self, memory_mib: int) -> None:
        number = next(self.ids)
        self.fleet.add_host(Host(f"h{number:06}", f"127.0.0.1:{number}", memory_mib))
        self.decide()

    @rule(pick=st.integers(0, 20))
    def host_is_lost(self, pick: int) -> None:
        hosts = list(self.fleet.hosts)
        if hosts:
            host = hosts[pick % len(hosts)].id
            self.leases.end_of_host(host)
            self.fleet.remove_host(host, self.now_s)
            self.decide()

    @rule(version=versions, holder=st.sampled_from(("f1", "f2")))
    def demand_comes(self, version: Version, holder: str) -> None:
        if len(self.waiting) < 20:
            self.waiting.join(Demand(version, holder), self.now_s)
        self.decide()

    @rule(pick=st.integers(0, 20))
    def caller_leaves(self, pick: int) -> None:
        if versions := self.waiting.versions():
            ticket = self.waiting.first(versions[pick % len(versions)])
            assert ticket is not None
            self.waiting.leave(ticket)
        self.decide()

    @rule(pick=st.integers(0, 50))
    def container_is_made(self, pick: int) -> None:
        creating = list(self.fleet.lists.creating())
        if creating:
            container = creating[pick % len(creating)]
            vm = self.fleet.vm(container.vm)
            self.fleet.put_vm(Vm(vm.id, vm.host, vm.shape, VmState.ACTIVE, vm.container_memory_mib, vm.tenant))
            if hand := self.dispatcher.hand(container, self.now_s):
                self.grant(hand)
            self.decide()

    @rule(version=versions)
    def container_is_provisioned(self, version: Version) -> None:
        if not self.dispatcher.is_room_wanted and len(self.fleet.containers) < 10:
            ending = self.dispatcher.provision(version, self.now_s)
            if isinstance(ending, Ending):
                self.check_ending(ending)
        self.decide()

    @rule(pick=st.integers(0, 50), is_broken=st.booleans())
    def lease_is_released(self, pick: int, is_broken: bool) -> None:
        leased = [container for container in self.fleet.containers if container.state is LEASED]
        if leased:
            container = leased[pick % len(leased)]
            lease = self.leases.end_of_container(container.id)
            assert lease is not None
            if is_broken:
                self.fleet.end_container(container.id, self.now_s)
            else:
                self.idle(container)
            self.decide()

    @rule(pick=st.integers(0, 50))
    def ending_ends(self, pick: int) -> None:
        vms = [vm for vm in self.fleet.unsettled_vms() if vm.state is VmState.ENDING]
        containers = list(self.fleet.lists.ending())
        if vms:
            self.fleet.remove_vm(vms[pick % len(vms)].id, self.now_s)
        elif containers:
            self.fleet.remove_container(containers[pick % len(containers)].id, self.now_s)
        self.decide()

    @rule(seconds=st.sampled_from((1.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        for lease in self.leases.end_expired(self.now_s):
            self.idle(self.fleet.container(lease.container))
        self.dispatcher.fill_pool(PoolPolicy(1, 1), self.now_s)
        self.decide()

    def idle(self, container: Container) -> None:
        self.fleet.put_container(Container(container.id, container.vm, container.version, IDLE, self.now_s))

    def decide(self) -> None:
        for decision in self.dispatcher.round(self.now_s, may_refuse=True):
            match decision:
                case Hand():
                    self.grant(decision)
                case Make(ticket, container):
                    assert ticket.demand.version == container.version
                case TurnAway(ticket):
                    assert not fits_somewhere(ticket.demand.version, self.fleet)
                case Ending():
                    self.check_ending(decision)

    def check_ending(self, ending: Ending) -> None:
        """Nothing ends that is leased, or kept."""
        ended = [self.fleet.container(container) for container in ending.containers]
        ended += [container for vm in ending.vms for container in self.fleet.containers_in(vm)]
        for container in ended:
            assert self.leases.of_container(container.id) is None
            assert not container.is_provisioned

    def grant(self, hand: Hand) -> None:
        assert hand.container.version == hand.ticket.demand.version
        host = self.fleet.vm(hand.container.vm).host
        lease_id = f"lease-{next(self.ids)}"
        self.leases.grant(
            lease_id, container=hand.container.id, host=host, holder=hand.ticket.demand.holder, now_s=self.now_s
        )

    @invariant()
    def nothing_is_overcommitted(self) -> None:
        for vm in self.fleet.vms:
            assert free_of_vm(self.fleet, vm) == self.fleet.vm_free_mib(vm.id) >= 0
            assert len(self.fleet.containers_in(vm.id)) <= CONTAINERS_PER_VCPU * vm.shape.vcpus
        for host in self.fleet.hosts:
            assert free_of_host(self.fleet, host) == self.fleet.host_free_mib(host.id) >= 0

    @invariant()
    def a_vm_serves_one_tenant(self) -> None:
        for container in self.fleet.containers:
            assert self.fleet.vm(container.vm).tenant == container.version.tenant

    @invariant()
    def exactly_what_is_leased_has_a_lease(self) -> None:
        for container in self.fleet.containers:
            assert (self.leases.of_container(container.id) is not None) == (container.state is LEASED)
        assert len(self.leases) == sum(container.state is LEASED for container in self.fleet.containers)

    @invariant()
    def no_more_is_made_than_was_wanted_and_nobody_waits_for_what_is_there(self) -> None:
        for uid in self.waiting.versions():
            ticket = self.waiting.first(uid)
            assert ticket is not None
            assert self.fleet.lists.idle_of_version(uid) is None
            if self.waiting.count(uid) > self.fleet.lists.creating_count(uid):
                assert not fits_somewhere(ticket.demand.version, self.fleet)


Scheduling.TestCase.settings = settings(UNHURRIED, max_examples=40, stateful_step_count=40)
TestScheduling = Scheduling.TestCase
