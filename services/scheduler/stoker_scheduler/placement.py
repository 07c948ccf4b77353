"""Where the next container of a version comes from.

The order of the search is the product:

1. an idle container that has the version loaded;
2. a VM of the tenant that has room, and whose host has the code already;
3. a VM of the tenant that has room;
4. a VM of the warming pool, which is the tenant's from then on;
5. a VM that still boots: the tenant's own, then one that is meant for the warming pool;
6. a new VM.

Where nothing of that is to be had now the demand waits, and where no connected host could ever hold it, it is refused.

Ties go to the VM (or host) with the least free memory that still fits, so that whole VMs fall idle and can be released;
among equals to the least id, so that a decision can be repeated. Everything here is a function of its arguments, and
each step is one look-up in an index of the fleet: the cost does not depend on how many VMs there are.
"""

from dataclasses import dataclass

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import Demand, Shape

MAX_VM_MEMORY_MIB = 262_144
"""The largest VM that a host can be asked for."""


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


Placement = UseContainer | AddContainer | AssignVm | CreateVm | Wait | Refuse


def place(demand: Demand, fleet: Fleet) -> Placement:
    """Chooses where a demand is served.

    Whatever it chooses fits: never two tenants on a VM, never over a VM's or a host's memory, never a container of
    another version. What fits somewhere is neither refused nor made to wait.
    """
    version = demand.version
    if container := fleet.lists.idle_of_version(version.uid):
        return UseContainer(container)
    if vm := fleet.room.vm_with_artifact(version.tenant, version.artifact_sha256, version.memory_mib):
        return AddContainer(vm)
    if vm := fleet.room.vm_of_tenant(version.tenant, version.memory_mib):
        return AddContainer(vm)
    if vm := fleet.room.warming_vm(version.memory_mib):
        return AssignVm(vm)
    if vm := fleet.room.booting_vm(version.tenant, version.memory_mib):
        return AddContainer(vm)
    if vm := fleet.room.booting_warming_vm(version.memory_mib):
        return AssignVm(vm)
    return _on_new_vm(version.memory_mib, fleet)


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


def _on_new_vm(memory_mib: int, fleet: Fleet) -> Placement:
    shape = shape_for(memory_mib, fleet)
    if shape and (host := fleet.room.host(shape.memory_mib)):
        return CreateVm(host, shape)
    largest_host_mib = fleet.room.largest_host_mib()
    if largest_host_mib is None or (shape and shape.memory_mib <= largest_host_mib):
        return Wait()
    return Refuse(_largest_container_mib(largest_host_mib, fleet))


def _largest_container_mib(host_mib: int, fleet: Fleet) -> int:
    shape, largest_mib = fleet.default_shape, 0
    while shape.memory_mib <= min(host_mib, MAX_VM_MEMORY_MIB):
        largest_mib = max(largest_mib, fleet.container_memory_mib(shape))
        shape = Shape(shape.vcpus, 2 * shape.memory_mib)
    return largest_mib
