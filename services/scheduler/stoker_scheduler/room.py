"""Which VM or host has room, the tightest first: what placement asks, each question one look-up."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from stoker_scheduler.machines import Host, Vm, VmState
from stoker_scheduler.ranking import Rankings

ARTIFACTS_KEPT = 16
"""Of how many artifacts it is remembered that a host has them for a tenant; the code cache itself holds more."""

_HOSTS_BY_ROOM = ("hosts by room",)
_HOSTS_BY_SIZE = ("hosts by size",)


class Room:
    """Orders of VMs and hosts by their free memory. The fleet keeps them; everybody else only asks."""

    def __init__(self) -> None:
        self._rankings = Rankings()
        self._resting: set[str] = set()
        self._artifacts: dict[tuple[str, str], dict[str, None]] = {}
        """By host and tenant, those that a container needed last at the end."""
        self._vms: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        """Booted VMs by host and tenant, each with its free memory."""

    def vm_with_artifact(self, tenant: str, artifact_sha256: str, memory_mib: int) -> str | None:
        """The tightest VM of a tenant with room, on hosts that have an artifact of the tenant in their code cache."""
        return self._rankings.tightest(("artifact", tenant, artifact_sha256), memory_mib)

    def vm_of_tenant(self, tenant: str, memory_mib: int) -> str | None:
        """The tightest VM of a tenant with room that has booted."""
        return self._rankings.tightest(("tenant", tenant), memory_mib)

    def warming_vm(self, memory_mib: int) -> str | None:
        """The tightest VM of the warming pool with room."""
        return self._rankings.tightest(("warming",), memory_mib)

    def booting_vm(self, tenant: str, memory_mib: int) -> str | None:
        """The tightest VM with room that boots for a tenant."""
        return self._rankings.tightest(("booting", tenant), memory_mib)

    def booting_warming_vm(self, memory_mib: int) -> str | None:
        """The tightest VM with room that boots for the warming pool."""
        return self._rankings.tightest(("booting", ""), memory_mib)

    def host(self, memory_mib: int) -> str | None:
        """The tightest host with room for a VM of this size, of those that do not rest."""
        return self._rankings.tightest(_HOSTS_BY_ROOM, memory_mib)

    def largest_host_mib(self) -> int | None:
        """The memory of the largest host in MiB; None where no host is connected."""
        return self._rankings.largest(_HOSTS_BY_SIZE)

    def is_resting(self, host: str) -> bool:
        """Whether a host gets no new VMs for a while."""
        return host in self._resting

    def enter_host(self, host: Host) -> None:
        """Adds a host without VMs."""
        self._rankings.add(_HOSTS_BY_SIZE, host.memory_mib, host.id)
        self._rankings.add(_HOSTS_BY_ROOM, host.memory_mib, host.id)

    def withdraw_host(self, host: Host) -> None:
        """Removes a host that has no VMs any more."""
        self.wake_host(host.id, host.memory_mib)
        self._rankings.remove(_HOSTS_BY_SIZE, host.memory_mib, host.id)
        self._rankings.remove(_HOSTS_BY_ROOM, host.memory_mib, host.id)

    def move_host(self, host: str, before_mib: int, free_mib: int) -> None:
        """Notes that a host's free memory changed."""
        if host not in self._resting:
            self._rankings.remove(_HOSTS_BY_ROOM, before_mib, host)
            self._rankings.add(_HOSTS_BY_ROOM, free_mib, host)

    def rest_host(self, host: str, free_mib: int) -> None:
        """Lets a host rest: it gets no new VMs until it is woken."""
        if host not in self._resting:
            self._resting.add(host)
            self._rankings.remove(_HOSTS_BY_ROOM, free_mib, host)

    def wake_host(self, host: str, free_mib: int) -> None:
        """Ends a host's rest."""
        if host in self._resting:
            self._resting.discard(host)
            self._rankings.add(_HOSTS_BY_ROOM, free_mib, host)

    def enter_vm(self, vm: Vm, free_mib: int) -> None:
        """Adds a VM with so much free memory."""
        if _is_of_tenant(vm):
            self._vms[vm.host, vm.tenant][vm.id] = free_mib
        self._for_each_order(vm, free_mib, self._rankings.add)

    def withdraw_vm(self, vm: Vm, free_mib: int) -> None:
        """Removes a VM that was entered like this."""
        self._for_each_order(vm, free_mib, self._rankings.remove)
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
            self._for_each_vm(place, artifact_sha256, self._rankings.add)
        if len(kept) > ARTIFACTS_KEPT:
            oldest = next(iter(kept))
            del kept[oldest]
            self._for_each_vm(place, oldest, self._rankings.remove)

    def forget_artifacts(self, host: str, tenant: str) -> None:
        """Forgets which artifacts a host has for a tenant that has no VM there any more."""
        self._artifacts.pop((host, tenant), None)

    def _for_each_order(self, vm: Vm, free_mib: int, change: Callable[[tuple[str, ...], int, str], None]) -> None:
        for key in self._orders_of(vm):
            change(key, free_mib, vm.id)

    def _orders_of(self, vm: Vm) -> Iterator[tuple[str, ...]]:
        if vm.state is VmState.CREATING:
            yield ("booting", vm.tenant)
        elif vm.state is VmState.WARMING and not vm.tenant:
            yield ("warming",)
        elif _is_of_tenant(vm):
            yield ("tenant", vm.tenant)
            for artifact in self._artifacts.get((vm.host, vm.tenant), ()):
                yield ("artifact", vm.tenant, artifact)

    def _for_each_vm(
        self, place: tuple[str, str], artifact: str, change: Callable[[tuple[str, ...], int, str], None]
    ) -> None:
        for vm, free_mib in self._vms.get(place, {}).items():
            change(("artifact", place[1], artifact), free_mib, vm)


def _is_of_tenant(vm: Vm) -> bool:
    """Whether a VM has booted and can take containers of its tenant, now or as soon as it is assigned."""
    return vm.tenant != "" and vm.state in (VmState.WARMING, VmState.ASSIGNING, VmState.ACTIVE)
