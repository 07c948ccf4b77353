"""What is kept, for how long, what makes way, and how many VMs boot ahead of time."""

from stoker_scheduler.eviction import Eviction
from stoker_scheduler.keep_alive import Ending, too_old
from stoker_scheduler.machines import ContainerState

from tests.scheduler.values import a_demand, a_fleet, a_version, put_container, put_vm

IDLE, LEASED, CREATING = ContainerState.IDLE, ContainerState.LEASED, ContainerState.CREATING


def test_what_nobody_used_for_long_ends_and_what_is_busy_never_does() -> None:
    fleet = a_fleet(2048)
    for number, (state, since_s) in enumerate([(LEASED, 0.0), (CREATING, 0.0), (IDLE, 0.0), (IDLE, 50.0)]):
        put_vm(fleet, f"vm-{number}", tenant="acme")
        put_container(fleet, f"c-{number}", f"vm-{number}", a_version(), state, since_s)
    assert too_old(fleet, 100.0, container_idle_s=60, vm_idle_s=30) == Ending(containers=("c-2",))


def test_a_tenants_vm_ends_once_it_has_been_empty_for_long() -> None:
    fleet = a_fleet(2048)
    put_vm(fleet, "vm-warming")
    put_vm(fleet, "vm-1", tenant="acme")
    put_container(fleet, "c-1", "vm-1", a_version(), IDLE)
    assert too_old(fleet, 500.0, container_idle_s=600, vm_idle_s=30) == Ending()
    fleet.remove_container("c-1", 500.0)
    assert too_old(fleet, 530.0, container_idle_s=600, vm_idle_s=30) == Ending()
    assert too_old(fleet, 531.0, container_idle_s=600, vm_idle_s=30) == Ending(vms=("vm-1",))


def test_room_is_made_by_the_least_recently_used_container_of_the_tenant() -> None:
    fleet = a_fleet(1024)
    for number, (state, since_s) in enumerate([(LEASED, 0.0), (IDLE, 1.0), (IDLE, 2.0)]):
        vm = f"vm-{number % 2}"
        put_vm(fleet, vm, tenant="acme")
        put_container(fleet, f"c-{number}", vm, a_version(f"x{number}", memory_mib=180), state, since_s)
    put_container(fleet, "c-3", "vm-1", a_version("x3", memory_mib=200), IDLE, 3.0)
    assert Eviction(fleet).room_for(a_demand(memory_mib=200)) == Ending(containers=("c-1",))
    assert Eviction(fleet).room_for(a_demand(memory_mib=390)) == Ending(containers=("c-1", "c-3"))


def test_room_is_made_by_vms_that_nobody_uses_of_whichever_tenant() -> None:
    fleet = a_fleet(1536)
    put_vm(fleet, "vm-busy", tenant="other")
    put_container(fleet, "c-1", "vm-busy", a_version("x", "other"), LEASED)
    put_vm(fleet, "vm-idle", tenant="other")
    put_container(fleet, "c-2", "vm-idle", a_version("x", "other"), IDLE, 1.0)
    put_vm(fleet, "vm-empty", tenant="third")
    assert Eviction(fleet).room_for(a_demand(memory_mib=200)) == Ending(vms=("vm-idle",))
    assert Eviction(fleet).room_for(a_demand(memory_mib=800)) == Ending(vms=("vm-idle", "vm-empty"))
    assert Eviction(fleet).room_for(a_demand(memory_mib=1200)) is None


def test_what_is_being_freed_is_waited_for_and_counted_once() -> None:
    fleet = a_fleet(1024)
    for number in (1, 2):
        put_vm(fleet, f"vm-{number}", tenant="other")
    fleet.end_vm("vm-1", 1.0)
    eviction = Eviction(fleet)
    assert eviction.room_for(a_demand(memory_mib=300)) == Ending()
    assert eviction.room_for(a_demand(memory_mib=300)) == Ending(vms=("vm-2",))
    fleet.end_vm("vm-2", 1.0)
    assert eviction.room_for(a_demand(memory_mib=300)) is None
    later = Eviction(fleet)
    assert [later.room_for(a_demand(memory_mib=300)) for _ in range(3)] == [Ending(), Ending(), None]
