"""What the memory of each host is used for, and how many VMs of the warming pool are on it."""

from collections import defaultdict
from typing import TypeVar

from stoker_scheduler.machines import Host, Shape, Vm, VmState
from stoker_scheduler.room import Room

Key = TypeVar("Key")


class HostMemory:
    """The books of all hosts. The fleet keeps them; everybody else only asks."""

    def __init__(self, room: Room) -> None:
        """Begins without hosts.

        Args:
            room: Told of what is free.
        """
        self._room = room
        self._free_mib: dict[str, int] = {}
        self._spare_mib: dict[str, int] = {}
        self._used: set[str] = set()
        """VMs that somebody uses, or will."""
        self._pooled: defaultdict[tuple[str, Shape], int] = defaultdict(int)
        self._pooled_in_all: defaultdict[Shape, int] = defaultdict(int)
        self._creating: defaultdict[str, int] = defaultdict(int)

    def free_mib(self, host: str) -> int:
        """Memory for more VMs on a host, in MiB."""
        return self._free_mib[host]

    def spare_mib(self, host: str) -> int:
        """Memory of a host that is free, being freed, or in VMs that nobody uses, in MiB."""
        return self._spare_mib[host]

    def pooled(self, host: str, shape: Shape) -> int:
        """How many VMs of a shape the warming pool has on a host, those that still boot included."""
        return self._pooled.get((host, shape), 0)

    def pooled_in_all(self, shape: Shape) -> int:
        """How many VMs of a shape the warming pool has, those that still boot included."""
        return self._pooled_in_all.get(shape, 0)

    def pooled_shapes(self) -> list[Shape]:
        """The shapes that the warming pool has VMs of."""
        return list(self._pooled_in_all)

    def creating(self, host: str) -> int:
        """How many VMs a host is creating."""
        return self._creating.get(host, 0)

    def add_host(self, host: Host) -> None:
        """Adds a host without VMs."""
        self._free_mib[host.id] = self._spare_mib[host.id] = host.memory_mib
        self._room.enter_host(host)

    def remove_host(self, host: Host) -> None:
        """Removes a host that has no VMs any more."""
        self._room.withdraw_host(host)
        del self._free_mib[host.id], self._spare_mib[host.id]

    def enter_vm(self, vm: Vm) -> None:
        """Adds a VM, or counts it as what it has become."""
        self._count(vm, 1)

    def withdraw_vm(self, vm: Vm) -> None:
        """Counts a VM no more as what it was."""
        self._count(vm, -1)

    def take(self, vm: Vm) -> None:
        """Gives a VM its memory; nobody uses it yet."""
        before_mib = self._free_mib[vm.host]
        self._free_mib[vm.host] = before_mib - vm.shape.memory_mib
        self._room.move_host(vm.host, before_mib, before_mib - vm.shape.memory_mib)

    def give_back(self, vm: Vm) -> None:
        """Takes the memory of a VM back."""
        self.set_used(vm, is_used=False)
        before_mib = self._free_mib[vm.host]
        self._free_mib[vm.host] = before_mib + vm.shape.memory_mib
        self._room.move_host(vm.host, before_mib, before_mib + vm.shape.memory_mib)

    def set_used(self, vm: Vm, *, is_used: bool) -> None:
        """Notes whether somebody uses a VM, or will, so that its memory is not to be had."""
        if is_used == (vm.id in self._used):
            return
        before_mib = self._spare_mib[vm.host]
        if is_used:
            self._used.add(vm.id)
            spare_mib = before_mib - vm.shape.memory_mib
        else:
            self._used.discard(vm.id)
            spare_mib = before_mib + vm.shape.memory_mib
        self._spare_mib[vm.host] = spare_mib
        self._room.move_spare(vm.host, before_mib, spare_mib)

    def _count(self, vm: Vm, change: int) -> None:
        if vm.state is VmState.CREATING:
            _add(self._creating, vm.host, change)
        if not vm.tenant and vm.state in (VmState.CREATING, VmState.WARMING):
            _add(self._pooled, (vm.host, vm.shape), change)
            _add(self._pooled_in_all, vm.shape, change)


def _add(counts: dict[Key, int], key: Key, change: int) -> None:
    counts[key] = counts.get(key, 0) + change
    if not counts[key]:
        del counts[key]
