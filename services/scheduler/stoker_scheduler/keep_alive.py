"""How long what nobody uses is kept: until it is old, or until its memory is needed."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import Container, Demand, VmState
from stoker_scheduler.placement import shape_for


@dataclass(frozen=True, slots=True)
class Ending:
    """Containers and VMs to destroy."""

    containers: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()


@dataclass(slots=True)
class Claims:
    """Memory that is being freed and is already meant for demands, in MiB, by VM and by host."""

    vms: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    hosts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


def too_old(fleet: Fleet, now_s: float, *, container_idle_s: float, vm_idle_s: float) -> Ending:
    """What has been kept for long enough: containers idle, and tenants' VMs without containers."""
    containers = takewhile(lambda idle: now_s - idle.since_s > container_idle_s, fleet.lists.idle_longest_first())
    vms = takewhile(lambda empty: now_s - empty[1] > vm_idle_s, fleet.empty_longest_first())
    return Ending(tuple(container.id for container in containers), tuple(vm.id for vm, _ in vms))


def make_room(demand: Demand, fleet: Fleet, claims: Claims) -> Ending | None:
    """What to end at once for a demand that found no room.

    The least recently used goes first, and nothing that is busy goes: idle containers in a VM of the tenant, and
    otherwise whole VMs of any tenant on one host, as far as that host needs. Where enough is being freed already,
    nothing more is.

    Args:
        demand: What needs room.
        fleet: The fleet.
        claims: What earlier demands wait for; this one's share is added.

    Returns:
        What to end, nothing where only patience is needed, or None where no room can be made.
    """
    in_vm = _room_in_vm(demand, fleet, claims)
    return _room_on_host(demand, fleet, claims) if in_vm is None else in_vm


def _room_in_vm(demand: Demand, fleet: Fleet, claims: Claims) -> Ending | None:
    needed_mib, tenant = demand.version.memory_mib, demand.version.tenant
    freed: defaultdict[str, list[Container]] = defaultdict(list)
    freed_mib: defaultdict[str, int] = defaultdict(int)

    def is_enough(container: Container) -> bool:
        freed_mib[container.vm] += container.version.memory_mib
        room_mib = fleet.vm_free_mib(container.vm) + freed_mib[container.vm] - claims.vms[container.vm]
        return room_mib >= needed_mib

    for container in _ending_in_vms_of(tenant, fleet):
        if is_enough(container):
            claims.vms[container.vm] += needed_mib
            return Ending()
    for container in fleet.lists.idle_of_tenant(tenant):
        freed[container.vm].append(container)
        if is_enough(container):
            claims.vms[container.vm] += needed_mib
            return Ending(containers=tuple(idle.id for idle in freed[container.vm]))
    return None


def _ending_in_vms_of(tenant: str, fleet: Fleet) -> Iterator[Container]:
    for container in fleet.lists.ending():
        vm = fleet.vm(container.vm)
        if vm.tenant == tenant and vm.state is not VmState.ENDING:
            yield container


def _room_on_host(demand: Demand, fleet: Fleet, claims: Claims) -> Ending | None:
    shape = shape_for(demand.version.memory_mib, fleet)
    if shape is None:
        return None
    freed: defaultdict[str, list[str]] = defaultdict(list)
    freed_mib: defaultdict[str, int] = defaultdict(int)

    def is_enough(host: str, memory_mib: int) -> bool:
        freed_mib[host] += memory_mib
        room_mib = fleet.host_free_mib(host) + freed_mib[host] - claims.hosts[host]
        return room_mib >= shape.memory_mib and not fleet.room.is_resting(host)

    for vm in fleet.unsettled_vms():
        if vm.state is VmState.ENDING and is_enough(vm.host, vm.shape.memory_mib):
            claims.hosts[vm.host] += shape.memory_mib
            return Ending()
    for vm, _ in fleet.unused_longest_first():
        freed[vm.host].append(vm.id)
        if is_enough(vm.host, vm.shape.memory_mib):
            claims.hosts[vm.host] += shape.memory_mib
            return Ending(vms=tuple(freed[vm.host]))
    return None
