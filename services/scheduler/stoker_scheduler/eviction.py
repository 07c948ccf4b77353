"""What makes way at once for demands that found no room.

The least recently used goes first, and nothing that is busy or to be kept goes: idle containers in a VM of the tenant,
and otherwise whole VMs of any tenant on one host, as far as that host needs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import inf

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.machines import Demand, VmState
from stoker_scheduler.placement import shape_for
from stoker_scheduler.ranking import Rankings


class Eviction:
    """Makes room for the demands of one round.

    What is being freed already counts, and so does what an earlier demand of the round had ended: it is waited for, and
    each demand has its own share. What `room_for` returns is to be marked as ending before it is asked again.
    """

    def __init__(self, fleet: Fleet) -> None:
        """Begins with what is being freed already."""
        self._fleet = fleet
        self._in_vms: defaultdict[str, _Coming] = defaultdict(_Coming)
        """By tenant."""
        self._on_hosts = _Coming()
        freed_mib: defaultdict[str, int] = defaultdict(int)
        for container in fleet.lists.ending():
            freed_mib[container.vm] += container.version.memory_mib
        for vm_id, memory_mib in freed_mib.items():
            vm = fleet.vm(vm_id)
            if vm.state is not VmState.ENDING:
                self._in_vms[vm.tenant].put(vm_id, fleet.vm_free_mib(vm_id) + memory_mib)
        freed_mib.clear()
        for vm in fleet.unsettled_vms():
            if vm.state is VmState.ENDING and not fleet.room.is_resting(vm.host):
                freed_mib[vm.host] += vm.shape.memory_mib
        for host, memory_mib in freed_mib.items():
            self._on_hosts.put(host, fleet.host_free_mib(host) + memory_mib)

    def has_own(self, tenant: str) -> bool:
        """Whether there may be something to end, or to wait for, in a tenant's own VMs."""
        return tenant in self._in_vms or tenant in self._fleet.lists.tenants_with_idle()

    def is_hopeless_on_hosts(self, memory_mib: int) -> bool:
        """Whether surely no room can be made for a VM that holds a container of this size."""
        shape = shape_for(memory_mib, self._fleet)
        return (
            shape is None
            or self._on_hosts.is_hopeless(shape.memory_mib)
            or shape.memory_mib > self._fleet.room.largest_spare_mib()
        )

    def is_hopeless_in_vms(self, tenant: str, memory_mib: int) -> bool:
        """Whether surely no room can be made for a container of this size in a tenant's own VMs."""
        return not self.has_own(tenant) or self._in_vms[tenant].is_hopeless(memory_mib)

    def room_for(self, demand: Demand) -> Ending | None:
        """What to end for a demand: nothing where only patience is needed, None where no room can be made."""
        ended = self._in_vm(demand)
        return self._on_host(demand) if ended is None else Ending(containers=ended)

    def _in_vm(self, demand: Demand) -> tuple[str, ...] | None:
        fleet, tenant, memory_mib = self._fleet, demand.version.tenant, demand.version.memory_mib
        if self.is_hopeless_in_vms(tenant, memory_mib):
            return None
        idle = ((idle.vm, idle.id, idle.version.memory_mib) for idle in fleet.lists.idle_of_tenant(tenant))
        return self._in_vms[tenant].claim(memory_mib, idle, fleet.vm_free_mib)

    def _on_host(self, demand: Demand) -> Ending | None:
        fleet, shape = self._fleet, shape_for(demand.version.memory_mib, self._fleet)
        if shape is None or self.is_hopeless_on_hosts(demand.version.memory_mib):
            return None
        unused = (
            (vm.host, vm.id, vm.shape.memory_mib)
            for vm, _ in fleet.unused_longest_first()
            if not fleet.room.is_resting(vm.host)
        )
        ended = self._on_hosts.claim(shape.memory_mib, unused, fleet.host_free_mib)
        return None if ended is None else Ending(vms=ended)


class _Coming:
    """Memory that is free or being freed and that nobody claims yet, in VMs or on hosts."""

    def __init__(self) -> None:
        self._order = Rankings()
        self._mib: dict[str, int] = {}
        self._hopeless_mib = inf
        """For how much no room could be made; nor can it be later in the round, when there is less."""

    def put(self, place: str, memory_mib: int) -> None:
        """Notes how much there is in a VM or on a host."""
        if place in self._mib:
            self._order.remove((), self._mib[place], place)
        self._mib[place] = memory_mib
        self._order.add((), memory_mib, place)

    def is_hopeless(self, needed_mib: int) -> bool:
        """Whether no room could be made for as much, or less."""
        return needed_mib >= self._hopeless_mib

    def claim(
        self, needed_mib: int, endable: Iterable[tuple[str, str, int]], free_mib: Callable[[str], int]
    ) -> tuple[str, ...] | None:
        """Claims memory in one place; returns what to end for it, or None where there is not enough.

        Args:
            needed_mib: How much.
            endable: What may be ended, the first first: where it is, its id, and its memory.
            free_mib: Tells the memory that is free in a place in which nothing is being freed yet.
        """
        if place := self._order.tightest((), needed_mib):
            self.put(place, self._mib[place] - needed_mib)
            return ()
        ended: defaultdict[str, list[str]] = defaultdict(list)
        coming_mib: dict[str, int] = {}
        for place, id_, memory_mib in endable:
            if place not in coming_mib:
                coming_mib[place] = self._mib[place] if place in self._mib else free_mib(place)
            coming_mib[place] += memory_mib
            ended[place].append(id_)
            if coming_mib[place] >= needed_mib:
                self.put(place, coming_mib[place] - needed_mib)
                return tuple(ended[place])
        self._hopeless_mib = needed_mib
        return None
