"""A new version takes the place of an old one: on its VM, and then instead of it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_scheduler.machines import Container, ContainerState, Demand, Version
from stoker_scheduler.placement import AddContainer, place, place_new
from stoker_scheduler.replacing import KEPT_S, Replacing

from tests.scheduler.codestore_peer import a_codestore
from tests.scheduler.scheduler_client import a_scheduler
from tests.scheduler.scripted_host import WAIT_S, ScriptedHost
from tests.scheduler.values import NODEJS, PYTHON, VM_MIB, a_fleet, a_spec, put_container, put_vm

IDLE, LEASED, CREATING, ENDING = (
    ContainerState.IDLE,
    ContainerState.LEASED,
    ContainerState.CREATING,
    ContainerState.ENDING,
)


def a_version(number: int, memory_mib: int = 64, artifact: str = "a", function: str = "hello") -> Version:
    return Version(f"{function}-{number}", "acme", function, number, artifact * 64, memory_mib, runtime=PYTHON)


def replacing(number: int, *replaced: int, memory_mib: int = 64) -> Demand:
    return Demand(a_version(number, memory_mib), "f1", tuple(f"hello-{each}" for each in replaced))


def test_the_new_container_goes_into_the_vm_of_the_old_one() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-tight", tenant="acme")
    put_container(fleet, "c-other", "vm-tight", a_version(1, 200, function="other"), LEASED)
    put_vm(fleet, "vm-old", tenant="acme")
    put_container(fleet, "c-old", "vm-old", a_version(1, artifact="b"), LEASED)
    assert place(replacing(2, 1), fleet) == AddContainer("vm-old")
    assert place(Demand(a_version(2), "f1"), fleet) == AddContainer("vm-tight")


def test_where_it_has_no_room_the_search_goes_on() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-old", tenant="acme")
    put_container(fleet, "c-old", "vm-old", a_version(1, VM_MIB - 63), LEASED)
    put_vm(fleet, "vm-more", tenant="acme")
    assert place(replacing(2, 1), fleet) == AddContainer("vm-more")
    assert place(replacing(2, 1, memory_mib=60), fleet) == AddContainer("vm-old")


def test_of_several_old_vms_one_with_a_blank_is_taken_and_then_the_tightest() -> None:
    fleet = a_fleet(8192)
    for number, blanks in enumerate((((NODEJS, 1),), (), ((PYTHON, 1),))):
        put_vm(fleet, f"vm-{number}", tenant="acme", blanks=blanks)
        put_container(fleet, f"c-{number}", f"vm-{number}", a_version(1), LEASED)
    put_container(fleet, "c-more", "vm-1", a_version(1), LEASED)
    assert place(replacing(2, 1), fleet) == AddContainer("vm-2")
    put_container(fleet, "c-new", "vm-2", a_version(2), CREATING)
    assert place(replacing(2, 1), fleet) == AddContainer("vm-1")


states = st.sampled_from(ContainerState)
contents = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), states), max_size=12)


@given(contents, st.sets(st.integers(1, 3)), st.sampled_from((64, 128, 300)))
def test_the_vm_of_an_old_container_always_has_room_and_is_the_tenants(
    placed: list[tuple[int, int, ContainerState]], replaced: set[int], memory_mib: int
) -> None:
    fleet = a_fleet(8192)
    for vm in range(4):
        put_vm(fleet, f"vm-{vm}", tenant="acme")
    for number, (vm, version, state) in enumerate(placed):
        if fleet.vm_room(f"vm-{vm}").memory_mib >= 64:
            put_container(fleet, f"c-{number}", f"vm-{vm}", a_version(version), state)
    new = a_version(9, memory_mib)
    uids = {f"hello-{each}" for each in replaced}
    placement = place_new(new, fleet, uids)
    beside = {
        container.vm
        for container in fleet.containers
        if container.version.uid in uids and fleet.vm_room(container.vm).memory_mib >= memory_mib
    }
    if beside:
        assert isinstance(placement, AddContainer)
        assert placement.vm in beside
        room = fleet.vm_room(placement.vm)
        assert room.memory_mib == min(fleet.vm_room(vm).memory_mib for vm in beside)
    else:
        assert placement == place_new(new, fleet)


@given(
    st.lists(st.tuples(st.integers(1, 4), states, st.booleans(), st.floats(0, 10)), max_size=10),
    st.sets(st.integers(1, 4)),
    st.integers(1, 4),
    st.floats(0, 12),
)
def test_only_idle_containers_of_replaced_versions_end_and_none_that_is_to_be_kept(
    placed: list[tuple[int, ContainerState, bool, float]], replaced: set[int], target: int, now_s: float
) -> None:
    fleet = a_fleet(8192)
    put_vm(fleet, "vm-1", tenant="acme")
    for index, (version, state, is_provisioned, since_s) in enumerate(placed):
        fleet.put_container(Container(f"c-{index}", "vm-1", a_version(version, 1), state, since_s, is_provisioned))
    subject = Replacing()
    subject.granted(replacing(target, *replaced))
    ending = {fleet.container(container) for container in subject.ending(fleet, now_s)}
    assert ending == {
        container
        for container in fleet.containers
        if container.version.number in replaced - {target}
        and container.state is IDLE
        and not container.is_provisioned
        and now_s - container.since_s >= KEPT_S
    }


def test_a_version_that_is_wanted_again_is_replaced_no_more() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-1", tenant="acme")
    put_container(fleet, "c-1", "vm-1", a_version(1), IDLE)
    put_container(fleet, "c-2", "vm-1", a_version(2), IDLE)
    subject = Replacing()
    subject.granted(replacing(2, 1))
    assert subject.ending(fleet, 10.0) == ["c-1"]
    subject.granted(replacing(1, 2))
    assert subject.ending(fleet, 10.0) == ["c-2"]


def test_a_version_that_stands_in_for_another_is_replaced_all_the_same() -> None:
    subject = Replacing()
    subject.granted(replacing(2, 1))
    subject.granted(Demand(a_version(1), "f1", is_in_background=True))
    assert subject.is_replaced(("acme", "hello"), "hello-1")
    subject.granted(Demand(a_version(1), "f1"))
    assert not subject.is_replaced(("acme", "hello"), "hello-1")


def test_what_is_gone_is_forgotten_and_so_is_what_was_replaced_longest_ago() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-1", tenant="acme")
    put_container(fleet, "c-1", "vm-1", a_version(1), LEASED)
    subject = Replacing(max_functions=1)
    subject.granted(replacing(2, 1))
    assert subject.is_replaced(("acme", "hello"), "hello-1")
    fleet.remove_container("c-1", 0.0)
    assert subject.ending(fleet, 0.0) == []
    assert not subject.is_replaced(("acme", "hello"), "hello-1")
    subject.granted(replacing(2, 1))
    subject.granted(Demand(a_version(2, function="other"), "f1", ("other-1",)))
    assert not subject.is_replaced(("acme", "hello"), "hello-1")


async def test_the_old_containers_end_when_the_new_one_is_there_and_they_are_given_back() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        old, new = a_spec(uid="v1", memory_mib=64), a_spec(uid="v2", memory_mib=64, number=2)
        busy, idle = [await scheduler.acquire(old) for _ in range(2)]
        await scheduler.release(idle.lease)
        granted = await scheduler.acquire(new, replaces=["v1"], in_background=True)
        assert granted.lease.vm == busy.lease.vm
        assert [command.create_container.in_background for command in host.commands][-1]
        states = await scheduler.until(lambda fleet: len(fleet.containers) == 2)
        assert {container.id for container in states.containers} == {busy.lease.container, granted.lease.container}
        await scheduler.release(busy.lease)
        await scheduler.until(lambda fleet: [c.id for c in fleet.containers] == [granted.lease.container])


async def test_only_what_is_idle_is_given_to_who_asks_for_no_more() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec(uid="v1", memory_mib=64)
        assert not (await scheduler.acquire(spec, only_idle=True)).HasField("lease")
        assert host.count("create_container") == 0
        first = await scheduler.acquire(spec)
        assert not (await scheduler.acquire(spec, only_idle=True)).HasField("lease")
        await scheduler.release(first.lease)
        again = await scheduler.acquire(spec, only_idle=True)
        assert again.lease.container == first.lease.container


async def test_a_function_at_its_maximum_rolls_over_all_the_same() -> None:
    host = ScriptedHost()
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address) as scheduler,
        host.connected(scheduler.channel),
    ):
        await codestore.tell(codestore_pb2.FunctionConcurrency(tenant="acme", function="hello", maximum=1))
        old, new = a_spec(uid="v1", memory_mib=64), a_spec(uid="v2", memory_mib=64, number=2)
        first = await scheduler.acquire(old)
        async with asyncio.timeout(WAIT_S):
            while (await scheduler.refusal(old, wait_s=0.05)).reason != "FUNCTION_CONCURRENCY":
                pass
        assert (await scheduler.refusal(new)).reason == "FUNCTION_CONCURRENCY"
        second = await scheduler.acquire(new, replaces=["v1"])
        assert second.lease.container != first.lease.container
