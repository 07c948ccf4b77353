"""Where the next container of a version comes from.

The order of the search is the product:

1. an idle container that has the version loaded;
2. a VM that has room and a container of a version that this one takes the place of;
3. a VM of the tenant that has room, and whose host has the code already;
4. a VM of the tenant that has room;
5. a VM of the warming pool, which is the tenant's from then on;
6. a VM that still boots: the tenant's own, then one that is meant for the warming pool;
7. a new VM.

Where nothing of that is to be had now the demand waits, and where no connected host could ever hold it, it is refused.

Ties within one step of 2 to 5 go to a VM that has a blank container of the version's runtime which nobody is to get
yet, since that only has to load the code; then to the VM (or host) with the least free memory that still fits, so that
whole VMs fall idle and can be released; then to the least id, so that a decision can be repeated.

Room is memory and processors. A VM's containers never have more memory together than the VM has for them; and a VM
takes `containers_per_vcpu` containers for each of its virtual processors, however small they are. What a host's VMs
have together never is more than the host's memory for VMs.

Everything here is a function of its arguments, and each step is one look-up in an index of the fleet: the cost grows
with the logarithm of the number of VMs.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import Demand, Shape, Version, VmState

MAX_VM_MEMORY_MIB = 262_144
"""The largest VM that a host can be asked for."""
LOOKED_AT = 256
"""How many of a function's containers are looked at for one that is replaced."""


@dataclass(frozen=True, slots=True)
class UseContainer:
    """An idle container serves the demand."""

    container: str


@dataclass(frozen=True, slots=True)
class AddContainer:
    """A VM of the tenant gets another container."""

    vm: str


@dataclass(frozen=True, slots=True)
class AssignVm:
    """A VM without a tenant becomes the tenant's, and gets a container."""

    vm: str


@dataclass(frozen=True, slots=True)
class CreateVm:
    """A host makes a VM for the tenant, which gets a container."""

    host: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Wait:
    """There is no room now."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """There never will be room: no connected host is large enough."""

    largest_mib: int
    """The memory of the largest container that a connected host could hold, in MiB."""


NewPlacement = AddContainer | AssignVm | CreateVm | Wait | Refuse
Placement = UseContainer | NewPlacement


def place(demand: Demand, fleet: Fleet) -> Placement:
    """Chooses where a demand is served.

    Whatever it chooses fits: never two tenants on a VM, never over a VM's or a host's memory, never a container of
    another version. What fits somewhere is neither refused nor made to wait.
    """
    if container := fleet.lists.idle_of_version(demand.version.uid):
        return UseContainer(container)
    return place_new(demand.version, fleet, demand.replaces)


def place_new(version: Version, fleet: Fleet, replaces: Collection[str] = ()) -> NewPlacement:
    """Chooses where another container of a version is made, as `place` does where none is idle.

    Args:
        version: The version.
        fleet: The fleet.
        replaces: The uids of versions that it takes the place of.
    """
    blank = 1 << version.runtime
    if replaces and (vm := beside_replaced(version, fleet, replaces)):
        return AddContainer(vm)
    if vm := fleet.room.vm_with_artifact(version.tenant, version.artifact_sha256, version.memory_mib, blank):
        return AddContainer(vm)
    if vm := fleet.room.vm_of_tenant(version.tenant, version.memory_mib, blank):
        return AddContainer(vm)
    if vm := fleet.room.warming_vm(version.memory_mib, blank):
        return AssignVm(vm)
    if vm := fleet.room.booting_vm(version.tenant, version.memory_mib):
        return AddContainer(vm)
    if vm := fleet.room.booting_warming_vm(version.memory_mib):
        return AssignVm(vm)
    return _on_new_vm(version.memory_mib, fleet)


def beside_replaced(version: Version, fleet: Fleet, replaces: Collection[str]) -> str | None:
    """The best VM with room among those that have a container of a version that this one takes the place of.

    So the old and the new one share what their VM has of the tenant's code, and no other VM is begun for a while in
    which there are both. Only the first containers of the function are looked at, so that the cost is bounded.
    """
    blank = 1 << version.runtime
    best: tuple[bool, int, str] | None = None
    for container in islice(fleet.lists.of_function(version.key), LOOKED_AT):
        if container.version.uid not in replaces or fleet.vm(container.vm).state is not VmState.ACTIVE:
            continue
        room = fleet.vm_room(container.vm)
        if room.memory_mib >= version.memory_mib:
            rank = (not room.blanks & blank, room.memory_mib, container.vm)
            best = rank if best is None else min(best, rank)
    return best[2] if best else None


def shape_for(memory_mib: int, fleet: Fleet) -> Shape | None:
    """The shape of a new VM that holds a container of this size.

    It is the default shape, or the least power-of-two multiple of its memory that is enough; None where that would be
    larger than VMs can be.
    """
    shape = fleet.default_shape
    while shape.memory_mib <= MAX_VM_MEMORY_MIB:
        if fleet.container_memory_mib(shape) >= memory_mib:
            return shape
        shape = Shape(shape.vcpus, 2 * shape.memory_mib)
    return None


def shared_reach_mib(fleet: Fleet) -> int:
    """The memory of the largest container that any tenant could get now, in MiB: in the warming pool, or a new VM."""
    return max(fleet.room.largest_of_pool_mib(), largest_container_mib(fleet.room.largest_free_mib(), fleet))


def reach_mib(tenant: str, fleet: Fleet) -> int:
    """The memory of the largest container that a tenant could get now in one of its own VMs, in MiB."""
    return fleet.room.largest_of_tenant_mib(tenant)


def _on_new_vm(memory_mib: int, fleet: Fleet) -> NewPlacement:
    shape = shape_for(memory_mib, fleet)
    if shape and (host := fleet.room.host(shape.memory_mib)):
        return CreateVm(host, shape)
    largest_host_mib = fleet.room.largest_host_mib()
    if largest_host_mib is None or (shape and shape.memory_mib <= largest_host_mib):
        return Wait()
    return Refuse(largest_container_mib(largest_host_mib, fleet))


def largest_container_mib(host_mib: int, fleet: Fleet) -> int:
    """The memory of the largest container in a new VM, on a host with so much room for it, in MiB; 0 for none."""
    shape, largest_mib = fleet.default_shape, 0
    while shape.memory_mib <= min(host_mib, MAX_VM_MEMORY_MIB):
        largest_mib = max(largest_mib, fleet.container_memory_mib(shape))
        shape = Shape(shape.vcpus, 2 * shape.memory_mib)
    return largest_mib
