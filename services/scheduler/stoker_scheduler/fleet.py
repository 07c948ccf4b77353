"""The fleet in memory: hosts, VMs and containers, with an index for every question that decisions ask.

It has no clock and does no I/O. What a decision reserves is put into it at once, as a VM or a container that is being
created, so that the next decision sees it. Changing something costs the logarithm of the fleet; so does asking.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TypeVar

from stoker_scheduler.container_lists import ContainerLists
from stoker_scheduler.host_memory import HostMemory
from stoker_scheduler.machines import Container, ContainerState, Host, Shape, Vm, VmState
from stoker_scheduler.room import Room, VmRoom

Value = TypeVar("Value")

DEFAULT_CONTAINERS_PER_VCPU = 16
"""How many containers a VM takes for each of its virtual processors, unless settings say otherwise."""


class Fleet:
    """All that is connected, and what is reserved on it."""

    def __init__(
        self,
        default_shape: Shape,
        reserve_mib: int,
        changed: Callable[[], None] = lambda: None,
        *,
        containers_per_vcpu: int = DEFAULT_CONTAINERS_PER_VCPU,
        idled: Callable[[Container], None] = lambda _: None,
    ) -> None:
        """Begins without hosts.

        Args:
            default_shape: The shape that VMs have unless a container needs a larger one.
            reserve_mib: What a VM of that shape keeps of its memory for itself, until one has told.
            changed: Called after every change.
            containers_per_vcpu: How many containers a VM takes for each of its virtual processors.
            idled: Called with each container that falls idle.
        """
        self.default_shape = default_shape
        self.room = Room()
        self.lists = ContainerLists()
        self.memory = HostMemory(self.room)
        self._reserve_mib = reserve_mib
        self._changed = changed
        self._containers_per_vcpu = containers_per_vcpu
        self._idled = idled
        self._container_memory_mib: dict[Shape, int] = {}
        self._hosts: dict[str, Host] = {}
        self._vms: dict[str, Vm] = {}
        self._containers: dict[str, Container] = {}
        self._vms_on: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._containers_in: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._vm_free_mib: dict[str, int] = {}
        self._vm_room: dict[str, VmRoom] = {}
        self.fallen_idle = 0
        """How often a container or a VM has fallen idle, or been emptied."""
        self._unsettled: dict[str, None] = {}
        self._unused_since: dict[str, float] = {}
        self._empty_since: dict[str, float] = {}

    @property
    def hosts(self) -> Collection[Host]:
        """All hosts."""
        return self._hosts.values()

    @property
    def vms(self) -> Collection[Vm]:
        """All VMs."""
        return self._vms.values()

    @property
    def containers(self) -> Collection[Container]:
        """All containers."""
        return self._containers.values()

    def host(self, host: str) -> Host:
        """The host of an id that is there."""
        return self._hosts[host]

    def find_host(self, host: str) -> Host | None:
        """The host of an id; None where it is not there."""
        return self._hosts.get(host)

    def vm(self, vm: str) -> Vm:
        """The VM of an id that is there."""
        return self._vms[vm]

    def find_vm(self, vm: str) -> Vm | None:
        """The VM of an id; None where it is not there."""
        return self._vms.get(vm)

    def container(self, container: str) -> Container:
        """The container of an id that is there."""
        return self._containers[container]

    def find_container(self, container: str) -> Container | None:
        """The container of an id; None where it is not there."""
        return self._containers.get(container)

    def vms_on(self, host: str) -> list[Vm]:
        """The VMs of a host."""
        return [self._vms[vm] for vm in self._vms_on.get(host, ())]

    def containers_in(self, vm: str) -> list[Container]:
        """The containers in a VM."""
        return [self._containers[container] for container in self._containers_in.get(vm, ())]

    def vm_free_mib(self, vm: str) -> int:
        """Memory for more containers in a VM, in MiB; below 0 where it turned out to have less than was thought."""
        return self._vm_free_mib[vm]

    def host_free_mib(self, host: str) -> int:
        """Memory for more VMs on a host, in MiB."""
        return self.memory.free_mib(host)

    def vm_room(self, vm: str) -> VmRoom:
        """What a VM has for another container."""
        return self._vm_room[vm]

    def container_memory_mib(self, shape: Shape) -> int:
        """What of a shape's memory containers may use, in MiB: as its VMs told, or an estimate."""
        known = self._container_memory_mib.get(shape)
        if known is not None:
            return known
        told = self._container_memory_mib.get(self.default_shape)
        reserve_mib = self._reserve_mib if told is None else self.default_shape.memory_mib - told
        # The kernel's own tables grow with the memory that they describe.
        growth_mib = max(0, shape.memory_mib - self.default_shape.memory_mib) // 32
        return max(0, shape.memory_mib - reserve_mib - growth_mib)

    def unsettled_vms(self) -> Iterator[Vm]:
        """VMs that are being created, given to a tenant, or destroyed."""
        return (self._vms[vm] for vm in self._unsettled)

    def unused_longest_first(self) -> Iterator[tuple[Vm, float]]:
        """Booted VMs without a busy or kept container, those used least recently first, with the time since when."""
        return ((self._vms[vm], since_s) for vm, since_s in self._unused_since.items())

    def empty_longest_first(self) -> Iterator[tuple[Vm, float]]:
        """Tenants' VMs without a container, those empty for longest first, each with the time since when."""
        return ((self._vms[vm], since_s) for vm, since_s in self._empty_since.items())

    def learn(self, shape: Shape, container_memory_mib: int) -> None:
        """Remembers what a VM of a shape told of its memory for containers."""
        self._container_memory_mib[shape] = container_memory_mib

    def add_host(self, host: Host) -> None:
        """Adds a host that is not there, without VMs."""
        self._hosts[host.id] = host
        self.memory.add_host(host)
        self._changed()

    def remove_host(self, host: str, now_s: float) -> None:
        """Removes a host that is there, with its VMs and their containers."""
        for vm in self.vms_on(host):
            self.remove_vm(vm.id, now_s)
        self.memory.remove_host(self._hosts.pop(host))
        self._changed()

    def rest_host(self, host: str) -> None:
        """Lets a host that is there rest: it gets no new VMs until it is woken."""
        self.room.rest_host(host, self.memory.free_mib(host), self.memory.spare_mib(host))

    def wake_host(self, host: str) -> None:
        """Ends the rest of a host that is there."""
        self.room.wake_host(host, self.memory.free_mib(host))
        self._changed()

    def put_vm(self, vm: Vm) -> None:
        """Adds a VM to a host that is there, or changes it."""
        if before := self._vms.get(vm.id):
            self.room.withdraw_vm(before, self._vm_room[vm.id])
            self.memory.withdraw_vm(before)
            if before.shape != vm.shape:
                self.memory.give_back(before)
                self.memory.take(vm)
        else:
            before = vm
            self._vm_free_mib[vm.id] = vm.container_memory_mib
            self._vms_on[vm.host][vm.id] = None
            self.memory.take(vm)
        self._vms[vm.id] = vm
        self._disown(before)
        self.memory.enter_vm(vm)
        self._use_vm(vm, before.container_memory_mib - vm.container_memory_mib)
        self._enter_room(vm)
        self._judge(vm, vm.since_s)
        self._changed()

    def remove_vm(self, vm: str, now_s: float) -> None:
        """Removes a VM that is there, with its containers."""
        for container in self.containers_in(vm):
            self.remove_container(container.id, now_s)
        removed = self._vms.pop(vm)
        del self._vm_free_mib[vm]
        self.room.withdraw_vm(removed, self._vm_room.pop(vm))
        self.memory.withdraw_vm(removed)
        self.memory.give_back(removed)
        _remove(self._vms_on, removed.host, vm)
        for index in (self._unsettled, self._unused_since, self._empty_since):
            index.pop(vm, None)
        self._disown(removed)
        self._changed()

    def end_vm(self, vm: str, now_s: float) -> None:
        """Marks a VM that is there as being destroyed, and its containers with it."""
        for container in self.containers_in(vm):
            self.end_container(container.id, now_s)
        self.put_vm(replace(self._vms[vm], state=VmState.ENDING, since_s=now_s))

    def put_container(self, container: Container) -> None:
        """Adds a container to a VM that is there, or changes its state."""
        vm = self._vms[container.vm]
        if before := self._containers.get(container.id):
            self.lists.withdraw(before, self._vm_free_mib[vm.id])
            is_room_other = before.state is not container.state and _takes_blank(before) != _takes_blank(container)
        else:
            is_room_other = True
            self._use_vm(vm, container.version.memory_mib)
            self._containers_in[vm.id][container.id] = None
            if vm.tenant:
                self.room.note_artifact(vm, container.version.artifact_sha256)
        self._containers[container.id] = container
        self.lists.enter(container, self._vm_free_mib[vm.id])
        if is_room_other:
            self._move_room(vm)
        self._judge(vm, container.since_s)
        if container.state is ContainerState.IDLE:
            self.fallen_idle += 1
            self._idled(container)
        self._changed()

    def remove_container(self, container: str, now_s: float) -> None:
        """Removes a container that is there."""
        removed = self._containers.pop(container)
        vm = self._vms[removed.vm]
        self.lists.withdraw(removed, self._vm_free_mib[vm.id])
        _remove(self._containers_in, vm.id, container)
        self._use_vm(vm, -removed.version.memory_mib)
        self._move_room(vm)
        self._judge(vm, now_s)
        self._changed()

    def end_container(self, container: str, now_s: float) -> None:
        """Marks a container that is there as being destroyed."""
        ending = self._containers[container]
        self.put_container(replace(ending, state=ContainerState.ENDING, since_s=now_s))

    def _disown(self, vm: Vm) -> None:
        """Forgets what a host has for the tenant of a VM as it was, where that was the tenant's last VM there."""
        if vm.tenant and all(other.tenant != vm.tenant for other in self.vms_on(vm.host)):
            self.room.forget_artifacts(vm.host, vm.tenant)

    def _use_vm(self, vm: Vm, memory_mib: int) -> None:
        if memory_mib:
            before_mib = self._vm_free_mib[vm.id]
            free_mib = self._vm_free_mib[vm.id] = before_mib - memory_mib
            for container in self.containers_in(vm.id):
                self.lists.move(container, before_mib, free_mib)

    def _enter_room(self, vm: Vm) -> None:
        room = self._vm_room[vm.id] = self._room_in(vm)
        self.room.enter_vm(vm, room)

    def _move_room(self, vm: Vm) -> None:
        if self._room_in(vm) != self._vm_room[vm.id]:
            self.room.withdraw_vm(vm, self._vm_room[vm.id])
            self._enter_room(vm)

    def _room_in(self, vm: Vm) -> VmRoom:
        containers = self._containers_in.get(vm.id, ())
        if len(containers) >= vm.shape.vcpus * self._containers_per_vcpu:
            return VmRoom(-1)
        blanks = 0
        for runtime, count in vm.blanks:
            for container in map(self._containers.__getitem__, containers):
                count -= _takes_blank(container) and container.version.runtime == runtime
            if count > 0:
                blanks |= 1 << runtime
        return VmRoom(self._vm_free_mib[vm.id], blanks)

    def _judge(self, vm: Vm, now_s: float) -> None:
        """Notes whether a VM is unsettled, unused or empty, and from which time on."""
        is_active = vm.state is VmState.ACTIVE
        is_settled = is_active or (vm.state is VmState.WARMING and not vm.tenant)
        is_unused = is_settled and not self.lists.has_needed(vm.id)
        if is_unused and vm.id not in self._unused_since:
            self.fallen_idle += 1
        _note(self._unsettled, vm.id, None, if_=not is_settled)
        _note(self._unused_since, vm.id, now_s, if_=is_unused)
        self.memory.set_used(vm, is_used=not is_unused and vm.state is not VmState.ENDING)
        _note(self._empty_since, vm.id, now_s, if_=is_active and vm.id not in self._containers_in)


def _takes_blank(container: Container) -> bool:
    """Whether a container gets, as long as there is one, a blank container that its VM still has."""
    return container.state is ContainerState.CREATING


def _note(index: dict[str, Value], id_: str, value: Value, *, if_: bool) -> None:
    if if_:
        index.setdefault(id_, value)
    else:
        index.pop(id_, None)


def _remove(index: dict[str, dict[str, None]], key: str, id_: str) -> None:
    del index[key][id_]
    if not index[key]:
        del index[key]
