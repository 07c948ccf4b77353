"""As many containers are kept loaded as are to be: first come the new ones, and only then go the old."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.machines import Container, ContainerState, Version
from stoker_scheduler.provisioning import Plan, Provisioning
from stoker_scheduler.targets import Provisioned, Target, Targets
from stoker_scheduler.waiting import Waiting

from tests.scheduler.codestore_peer import a_codestore
from tests.scheduler.scheduler_client import a_scheduler
from tests.scheduler.scripted_host import ScriptedHost
from tests.scheduler.values import a_demand, a_fleet, a_spec, put_container, put_vm

IDLE, LEASED, CREATING = ContainerState.IDLE, ContainerState.LEASED, ContainerState.CREATING
HELLO = ("acme", "hello")


def a_version(number: int, memory_mib: int = 64) -> Version:
    return Version(f"v{number}", "acme", "hello", number, "a" * 64, memory_mib)


class Kept:
    """Provisioning of one function, whose plans are carried out at once."""

    def __init__(self, *host_mib: int) -> None:
        ids = count(1)
        self.fleet = a_fleet(*host_mib)
        self.dispatcher = Dispatcher(self.fleet, Waiting(100, 100), lambda prefix: f"{prefix}{next(ids):04}")
        self.targets = Targets()
        self.provisioning = Provisioning(self.dispatcher, self.targets)

    def target(self, **containers: int) -> None:
        """Sets how many are to be kept, by version (`v1=3`)."""
        kept = tuple(Provisioned(a_version(int(uid[1:])), number) for uid, number in containers.items())
        self.targets.put(HELLO, Target(provisioned=kept))

    def plan(self, now_s: float = 0.0, *, is_made: bool = True) -> Plan:
        plan = self.provisioning.plan(now_s)
        for container in plan.make if is_made else ():
            self.make(container)
        for container in plan.end:
            self.fleet.remove_container(container, now_s)
        for ending in plan.make_room:
            for vm in ending.vms:
                self.fleet.remove_vm(vm, now_s)
        return plan

    def make(self, container: Container) -> None:
        self.dispatcher.hand(container, 0.0)

    def states(self, number: int) -> list[str]:
        containers = [c for c in self.fleet.lists.of_function(HELLO) if c.version.number == number]
        return sorted(container.state.value for container in containers)


def test_as_many_are_made_as_are_missing_and_what_is_there_counts() -> None:
    kept = Kept(4096)
    put_vm(kept.fleet, "vm-1", tenant="acme")
    put_container(kept.fleet, "c-1", "vm-1", a_version(1), LEASED)
    kept.target(v1=3)
    assert len(kept.plan().make) == 2
    assert kept.states(1) == ["idle", "idle", "leased"]
    assert all(container.is_provisioned for container in kept.fleet.containers)
    assert kept.plan() == Plan()


def test_what_is_lost_is_replaced() -> None:
    kept = Kept(4096)
    kept.target(v1=2)
    kept.plan()
    kept.fleet.remove_container(next(iter(kept.fleet.containers)).id, 1.0)
    assert len(kept.plan().make) == 1


def test_the_old_versions_containers_end_when_all_of_the_new_ones_are_loaded() -> None:
    kept = Kept(4096)
    kept.target(v1=2)
    kept.plan()
    busy = next(iter(kept.fleet.containers))
    put_container(kept.fleet, busy.id, busy.vm, busy.version, LEASED)
    kept.plan()

    kept.target(v2=2)
    first = kept.plan(is_made=False)
    assert (len(first.make), first.end) == (2, [])
    kept.make(first.make[0])
    assert kept.plan() == Plan()
    kept.make(first.make[1])
    assert len(kept.plan().end) == 1
    assert (kept.states(1), kept.states(2)) == (["leased"], ["idle", "idle"])

    # One that is in use ends as soon as it is not.
    leased = kept.fleet.container(busy.id)
    kept.fleet.put_container(Container(leased.id, leased.vm, leased.version, IDLE, 1.0, leased.is_provisioned))
    assert kept.plan().end == [busy.id]


def test_what_is_to_be_kept_no_more_is_left_to_its_keep_alive() -> None:
    kept = Kept(4096)
    kept.target(v1=3)
    kept.plan()
    kept.target(v1=1)
    assert kept.plan() == Plan()
    assert [container.is_provisioned for container in kept.fleet.containers].count(True) == 1
    kept.target()
    assert kept.plan() == Plan()
    assert kept.states(1) == ["idle"] * 3
    assert not any(container.is_provisioned for container in kept.fleet.containers)


def test_who_waits_for_room_comes_first() -> None:
    kept = Kept(512)
    put_vm(kept.fleet, "vm-1", tenant="other")
    put_container(kept.fleet, "c-1", "vm-1", Version("x", "other", "x", 1, "b" * 64, 64), LEASED)
    kept.dispatcher.waiting.join(a_demand("large", memory_mib=300))
    kept.dispatcher.round(0.0, may_refuse=True)
    kept.target(v1=1)
    assert kept.plan().make == []


def test_without_room_what_nobody_uses_makes_way_and_otherwise_there_are_fewer() -> None:
    kept = Kept(1024)
    put_vm(kept.fleet, "vm-used", tenant="other")
    put_container(kept.fleet, "c-1", "vm-used", Version("x", "other", "x", 1, "b" * 64, 64), LEASED)
    put_vm(kept.fleet, "vm-idle", tenant="other")
    put_container(kept.fleet, "c-2", "vm-idle", Version("x", "other", "x", 1, "b" * 64, 64), IDLE)
    kept.target(v1=9)
    assert kept.plan().make_room == [Ending(vms=("vm-idle",))]
    assert len(kept.plan().make) == 6
    assert kept.plan() == Plan()
    assert kept.states(1) == ["idle"] * 6


def test_a_version_that_cannot_be_made_rests_longer_and_longer() -> None:
    kept = Kept(4096)
    kept.target(v1=1)
    tries: list[int] = []
    for second in range(16):
        plan = kept.plan(float(second), is_made=False)
        for container in plan.make:
            tries.append(second)
            kept.fleet.remove_container(container.id, float(second))
            kept.provisioning.failed("v1", float(second))
    assert tries == [0, 1, 3, 7, 15]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 6), st.booleans()), min_size=1, max_size=12))
def test_there_are_always_as_many_as_before_until_the_new_ones_are_there(changes: list[tuple[int, int, bool]]) -> None:
    kept = Kept(8192)
    before = 0
    for number, containers, is_made in changes:
        kept.target(**{f"v{number}": containers} if containers else {})
        plan = kept.plan(is_made=is_made)
        loaded = sum(c.state is IDLE for c in kept.fleet.lists.of_function(HELLO))
        assert loaded >= min(before, containers)
        assert not plan.end or len([s for s in kept.states(number) if s != "creating"]) >= containers
        for container in [c for c in kept.fleet.lists.of_function(HELLO) if c.state is CREATING]:
            kept.make(container)
        kept.plan()
        assert kept.states(number).count("idle") >= containers
        marked = [c for c in kept.fleet.containers if c.is_provisioned]
        assert [c.version.number for c in marked] == [number] * containers
        before = containers


def a_function(*specs: tuple[codestore_pb2.VersionSpec, int]) -> codestore_pb2.FunctionConcurrency:
    provisioned = [codestore_pb2.ProvisionedVersion(spec=spec, containers=number) for spec, number in specs]
    return codestore_pb2.FunctionConcurrency(tenant="acme", function="hello", provisioned=provisioned)


async def test_provisioned_containers_are_there_before_anybody_calls_and_stay() -> None:
    host = ScriptedHost()
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address, container_idle_s=0.05, vm_idle_s=0.05) as scheduler,
        host.connected(scheduler.channel),
    ):
        old, new = (a_spec(memory_mib=64, number=number) for number in (1, 2))
        await codestore.tell(a_function((old, 2)))
        await host.until(lambda: len(host.containers) == 2)
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["idle"] * 2)
        assert all(container.lease_id == "" for container in host.containers.values())
        first = await scheduler.acquire(old)
        assert first.init_ms == 0
        await scheduler.release(first.lease)
        await host.until(lambda: host.containers[first.lease.container].lease_id == "")

        await host.lose_vm(first.lease.vm)
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["idle"] * 2)

        await codestore.tell(a_function((new, 2)))
        await scheduler.until(lambda fleet: {(c.version, c.state) for c in fleet.containers} == {(2, "idle")})
        usage = await scheduler.usage()
        assert [(one.version, one.loaded, one.leased) for one in usage.versions] == [(2, 2, 0)]


async def test_who_comes_while_they_are_made_gets_one_of_them() -> None:
    host = ScriptedHost()
    host.gates["create_container"].clear()
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address) as scheduler,
        host.connected(scheduler.channel),
    ):
        spec = a_spec(memory_mib=64)
        await codestore.tell(a_function((spec, 1)))
        await host.until(lambda: host.count("create_container"))
        call = scheduler.acquire(spec)
        while (await scheduler.usage()).waiting == 0:
            pass
        host.gates["create_container"].set()
        grant = await call
        assert host.containers[grant.lease.container].lease_id == grant.lease.id
        assert host.count("create_container") == 1


async def test_code_that_cannot_be_loaded_is_not_tried_all_the_time() -> None:
    host = ScriptedHost()
    host.failures["create_container"].extend(["NO_DISK"] * 100)
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address) as scheduler,
        host.connected(scheduler.channel),
    ):
        await codestore.tell(a_function((a_spec(), 1)))
        await host.until(lambda: host.count("create_container"))
        for _ in range(20):
            await scheduler.usage()
        assert host.count("create_container") == 1


def test_a_new_versions_containers_go_where_the_old_ones_are() -> None:
    kept = Kept(4096)
    put_vm(kept.fleet, "vm-tight", tenant="acme")
    put_container(kept.fleet, "c-other", "vm-tight", Version("o", "acme", "other", 1, "a" * 64, 300), LEASED)
    put_vm(kept.fleet, "vm-old", tenant="acme")
    put_container(kept.fleet, "c-1", "vm-old", a_version(1), LEASED)
    kept.target(v1=1)
    kept.plan()
    kept.target(v2=1)
    [made] = kept.plan().make
    assert made.vm == "vm-old"
