"""Which VM or host has room, the tightest first: what placement asks, each question one look-up."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from stoker_scheduler.machines import Host, Vm, VmState
from stoker_scheduler.ranking import Rankings

ARTIFACTS_KEPT = 16
"""Of how many artifacts it is remembered that a host has them for a tenant; the code cache itself holds more."""

_HOSTS_BY_ROOM = ("hosts by room",)
_HOSTS_BY_SIZE = ("hosts by size",)
_HOSTS_BY_SPARE = ("hosts by spare memory",)


class VmRoom(NamedTuple):
    """What a VM has for another container."""

    memory_mib: int
    """Free memory in MiB; -1 where it takes no other container, however small."""
    blanks: int = 0
    """The runtimes of which it has a blank container, each as the bit `1 << runtime`."""


class Room:
    """Orders of VMs and hosts by their free memory. The fleet keeps them; everybody else only asks."""

    def __init__(self) -> None:
        self._rankings = Rankings()
        self._resting: dict[str, int] = {}
        """Those that rest, each with its spare memory."""
        self._artifacts: dict[tuple[str, str], dict[str, None]] = {}
        """By host and tenant, those that a container needed last at the end."""
        self._vms: defaultdict[tuple[str, str], dict[str, VmRoom]] = defaultdict(dict)
        """Booted VMs by host and tenant, each with its room."""
        self._changed: dict[str, None] = {}

    def vm_with_artifact(self, tenant: str, artifact_sha256: str, memory_mib: int, blanks: int = 0) -> str | None:
        """The best VM of a tenant with room, on hosts that have an artifact of the tenant in their code cache.

        The best, here and below, has one of the `blanks` if any does, and then the least room, and the least id.
        """
        return self._rankings.tightest(("artifact", tenant, artifact_sha256), memory_mib, blanks)

    def vm_of_tenant(self, tenant: str, memory_mib: int, blanks: int = 0) -> str | None:
        """The best VM of a tenant with room that has booted."""
        return self._rankings.tightest(("tenant", tenant), memory_mib, blanks)

    def warming_vm(self, memory_mib: int, blanks: int = 0) -> str | None:
        """The best VM of the warming pool with room."""
        return self._rankings.tightest(("warming",), memory_mib, blanks)

    def booting_vm(self, tenant: str, memory_mib: int) -> str | None:
        """The tightest VM with room that boots for a tenant."""
        return self._rankings.tightest(("booting", tenant), memory_mib)

    def booting_warming_vm(self, memory_mib: int) -> str | None:
        """The tightest VM with room that boots for the warming pool."""
        return self._rankings.tightest(("booting", ""), memory_mib)

    def host(self, memory_mib: int) -> str | None:
        """The tightest host with room for a VM of this size, of those that do not rest."""
        return self._rankings.tightest(_HOSTS_BY_ROOM, memory_mib)

    def hosts_with_most_first(self) -> Iterator[tuple[int, str]]:
        """The hosts that do not rest, each with its free memory in MiB, those that have most of it first."""
        return self._rankings.largest_first(_HOSTS_BY_ROOM)

    def largest_host_mib(self) -> int | None:
        """The memory of the largest host in MiB; None where no host is connected."""
        return self._rankings.largest(_HOSTS_BY_SIZE)

    def largest_free_mib(self) -> int:
        """The most memory for VMs that is free on a host that does not rest, in MiB."""
        return self._rankings.largest(_HOSTS_BY_ROOM) or 0

    def largest_spare_mib(self) -> int:
        """The most memory that is free, or in VMs that nobody uses, on a host that does not rest, in MiB."""
        return self._rankings.largest(_HOSTS_BY_SPARE) or 0

    def largest_of_tenant_mib(self, tenant: str) -> int:
        """The most memory for a container in one of a tenant's VMs, also those that boot, in MiB; below 0 for none."""
        booted, booting = self._rankings.largest(("tenant", tenant)), self._rankings.largest(("booting", tenant))
        return max(-1 if booted is None else booted, -1 if booting is None else booting)

    def largest_of_pool_mib(self) -> int:
        """The most memory for a container in a VM without a tenant, in MiB; below 0 for none."""
        booted = self._rankings.largest(("warming",))
        return max(-1 if booted is None else booted, self.largest_of_tenant_mib(""))

    def take_changed(self) -> dict[str, None]:
        """The tenants whose VMs have got other room since this was last asked."""
        changed, self._changed = self._changed, {}
        return changed

    def is_resting(self, host: str) -> bool:
        """Whether a host gets no new VMs for a while."""
        return host in self._resting

    def enter_host(self, host: Host) -> None:
        """Adds a host without VMs."""
        for key in (_HOSTS_BY_SIZE, _HOSTS_BY_ROOM, _HOSTS_BY_SPARE):
            self._rankings.add(key, host.memory_mib, host.id)

    def withdraw_host(self, host: Host) -> None:
        """Removes a host that has no VMs any more."""
        self.wake_host(host.id, host.memory_mib)
        for key in (_HOSTS_BY_SIZE, _HOSTS_BY_ROOM, _HOSTS_BY_SPARE):
            self._rankings.remove(key, host.memory_mib, host.id)

    def move_host(self, host: str, before_mib: int, free_mib: int) -> None:
        """Notes that a host's free memory changed."""
        if host not in self._resting:
            self._rankings.remove(_HOSTS_BY_ROOM, before_mib, host)
            self._rankings.add(_HOSTS_BY_ROOM, free_mib, host)

    def move_spare(self, host: str, before_mib: int, spare_mib: int) -> None:
        """Notes that the memory changed that is free on a host or in VMs that nobody uses."""
        if host in self._resting:
            self._resting[host] = spare_mib
        else:
            self._rankings.remove(_HOSTS_BY_SPARE, before_mib, host)
            self._rankings.add(_HOSTS_BY_SPARE, spare_mib, host)

    def rest_host(self, host: str, free_mib: int, spare_mib: int) -> None:
        """Lets a host rest: it gets no new VMs until it is woken."""
        if host not in self._resting:
            self._resting[host] = spare_mib
            self._rankings.remove(_HOSTS_BY_ROOM, free_mib, host)
            self._rankings.remove(_HOSTS_BY_SPARE, spare_mib, host)

    def wake_host(self, host: str, free_mib: int) -> None:
        """Ends a host's rest."""
        if host in self._resting:
            self._rankings.add(_HOSTS_BY_SPARE, self._resting.pop(host), host)
            self._rankings.add(_HOSTS_BY_ROOM, free_mib, host)

    def enter_vm(self, vm: Vm, room: VmRoom) -> None:
        """Adds a VM with so much room."""
        if _is_of_tenant(vm):
            self._vms[vm.host, vm.tenant][vm.id] = room
        for key in self._orders_of(vm):
            self._rankings.add(key, room.memory_mib, vm.id, room.blanks)
        if vm.tenant:
            self._changed[vm.tenant] = None

    def withdraw_vm(self, vm: Vm, room: VmRoom) -> None:
        """Removes a VM that was entered like this."""
        for key in self._orders_of(vm):
            self._rankings.remove(key, room.memory_mib, vm.id, room.blanks)
        if _is_of_tenant(vm):
            place = (vm.host, vm.tenant)
            del self._vms[place][vm.id]
            if not self._vms[place]:
                del self._vms[place]

    def note_artifact(self, vm: Vm, artifact_sha256: str) -> None:
        """Remembers that a VM's host gets an artifact into the code cache of the VM's tenant."""
        place = (vm.host, vm.tenant)
        kept = self._artifacts.setdefault(place, {})
        is_new = artifact_sha256 not in kept
        kept.pop(artifact_sha256, None)
        kept[artifact_sha256] = None
        if is_new:
            for other, room in self._vms.get(place, {}).items():
                self._rankings.add(("artifact", vm.tenant, artifact_sha256), room.memory_mib, other, room.blanks)
        if len(kept) > ARTIFACTS_KEPT:
            oldest = next(iter(kept))
            del kept[oldest]
            for other, room in self._vms.get(place, {}).items():
                self._rankings.remove(("artifact", vm.tenant, oldest), room.memory_mib, other, room.blanks)

    def forget_artifacts(self, host: str, tenant: str) -> None:
        """Forgets which artifacts a host has for a tenant that has no VM there any more."""
        self._artifacts.pop((host, tenant), None)

    def _orders_of(self, vm: Vm) -> Iterator[tuple[str, ...]]:
        if vm.state is VmState.CREATING:
            yield ("booting", vm.tenant)
        elif vm.state is VmState.WARMING and not vm.tenant:
            yield ("warming",)
        elif _is_of_tenant(vm):
            yield ("tenant", vm.tenant)
            for artifact in self._artifacts.get((vm.host, vm.tenant), ()):
                yield ("artifact", vm.tenant, artifact)


def _is_of_tenant(vm: Vm) -> bool:
    """Whether a VM has booted and can take containers of its tenant, now or as soon as it is assigned."""
    return vm.tenant != "" and vm.state in (VmState.WARMING, VmState.ASSIGNING, VmState.ACTIVE)
