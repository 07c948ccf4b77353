"""Who is served next, and how: the queue meets the fleet.

One round serves everybody who can be served now. It changes the fleet and the queue at once, so that no two decisions
count on the same memory or container, and returns what is to be done about it in the world.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from stoker_scheduler.eviction import Eviction
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.machines import Container, ContainerState, Shape, Vm, VmState
from stoker_scheduler.placement import AddContainer, AssignVm, CreateVm, Placement, Refuse, UseContainer, Wait, place
from stoker_scheduler.waiting import Ticket, Waiting
from stoker_scheduler.warming_pool import PoolPolicy, creations


@dataclass(frozen=True, slots=True)
class Hand:
    """A container, leased from now on, goes to a demand, which has left the queue."""

    ticket: Ticket
    container: Container


@dataclass(frozen=True, slots=True)
class Make:
    """A container is to be made because of a demand, which goes on waiting: any of its version will do."""

    ticket: Ticket
    container: Container
    placement: Placement


@dataclass(frozen=True, slots=True)
class TurnAway:
    """A demand, which has left the queue, can never be served."""

    ticket: Ticket
    largest_mib: int


Decision = Hand | Make | TurnAway | Ending


class Dispatcher:
    """Decides, with the fleet and the queue before it."""

    def __init__(self, fleet: Fleet, waiting: Waiting, new_id: Callable[[str], str]) -> None:
        """Begins to decide.

        Args:
            fleet: The fleet.
            waiting: The queue.
            new_id: Makes an id that begins as it is told.
        """
        self.fleet = fleet
        self.waiting = waiting
        self._new_id = new_id

    def round(self, now_s: float, *, may_refuse: bool) -> list[Decision]:
        """Serves all that can be served.

        Args:
            now_s: The time.
            may_refuse: Whether the fleet is complete, so that what no host can hold is turned away.
        """
        decisions: list[Decision] = []
        for first in self.waiting.firsts():
            self._hand_idle(first, now_s, decisions)
        stuck: dict[str, Ticket] = {}
        turn = self.waiting.tenants()
        while turn:
            turn = [tenant for tenant in turn if self._serve(tenant, stuck, now_s, may_refuse, decisions)]
        if stuck:
            eviction = Eviction(self.fleet)
            for ticket in stuck.values():
                self._make_room(ticket, eviction, now_s, decisions)
        return decisions

    def hand(self, container: Container, now_s: float) -> Hand | None:
        """Gives a container that has just been made to whoever has waited longest for its version.

        None where nobody waits for it; it is idle then.
        """
        ticket = self.waiting.first(container.version.tenant, container.version.uid)
        if ticket is None:
            self.fleet.put_container(replace(container, state=ContainerState.IDLE, since_s=now_s))
            return None
        return self._hand(ticket, container, now_s)

    def fill_pool(self, policy: PoolPolicy, now_s: float) -> list[Vm]:
        """Begins VMs for the warming pool, unless a demand needs the room."""
        creating_count = self.fleet.lists.creating_count
        if any(self.waiting.wanting(tenant, creating_count) for tenant in self.waiting.tenants()):
            return []
        created: list[Vm] = []
        for host in self.fleet.hosts:
            for _ in range(creations(host.id, self.fleet, policy)):
                created.append(self._new_vm(host.id, self.fleet.default_shape, "", now_s))
        return created

    def _hand_idle(self, first: Ticket, now_s: float, decisions: list[Decision]) -> None:
        version = first.demand.version
        while idle := self.fleet.lists.idle_of_version(version.uid):
            ticket = self.waiting.first(version.tenant, version.uid)
            if ticket is None:
                return
            decisions.append(self._hand(ticket, self.fleet.container(idle), now_s))

    def _hand(self, ticket: Ticket, container: Container, now_s: float) -> Hand:
        self.waiting.leave(ticket)
        self.waiting.take_turn(container.version.tenant)
        leased = replace(container, state=ContainerState.LEASED, since_s=now_s)
        self.fleet.put_container(leased)
        return Hand(ticket, leased)

    def _serve(
        self, tenant: str, stuck: dict[str, Ticket], now_s: float, may_refuse: bool, decisions: list[Decision]
    ) -> bool:
        """Serves one demand of a tenant; returns whether one could be."""
        for ticket in self.waiting.wanting(tenant, self.fleet.lists.creating_count):
            if ticket.demand.version.uid in stuck:
                continue
            placement = place(ticket.demand, self.fleet)
            match placement:
                case UseContainer(container):
                    decisions.append(self._hand(ticket, self.fleet.container(container), now_s))
                    return True
                case AddContainer() | AssignVm() | CreateVm():
                    decisions.append(self._make(ticket, placement, now_s))
                    return True
                case Refuse(largest_mib) if may_refuse:
                    self.waiting.leave(ticket)
                    decisions.append(TurnAway(ticket, largest_mib))
                    return True
                case Refuse() | Wait():
                    stuck[ticket.demand.version.uid] = ticket
        return False

    def _make(self, ticket: Ticket, placement: AddContainer | AssignVm | CreateVm, now_s: float) -> Make:
        version = ticket.demand.version
        match placement:
            case AddContainer(vm):
                pass
            case AssignVm(vm):
                self.fleet.put_vm(replace(self.fleet.vm(vm), tenant=version.tenant))
            case CreateVm(host, shape):
                vm = self._new_vm(host, shape, version.tenant, now_s).id
        container = Container(self._new_id("c-"), vm, version, ContainerState.CREATING, now_s)
        self.fleet.put_container(container)
        self.waiting.take_turn(version.tenant)
        return Make(ticket, container, placement)

    def _new_vm(self, host: str, shape: Shape, tenant: str, now_s: float) -> Vm:
        memory_mib = self.fleet.container_memory_mib(shape)
        vm = Vm(self._new_id("vm-"), host, shape, VmState.CREATING, memory_mib, tenant, now_s)
        self.fleet.put_vm(vm)
        return vm

    def _make_room(self, ticket: Ticket, eviction: Eviction, now_s: float, decisions: list[Decision]) -> None:
        """Ends what is not in use, for all demands of a version for which nothing is being made."""
        version = ticket.demand.version
        missing = self.waiting.count(version.tenant, version.uid) - self.fleet.lists.creating_count(version.uid)
        for _ in range(missing):
            ending = eviction.room_for(ticket.demand)
            if ending is None:
                return
            for container in ending.containers:
                self.fleet.end_container(container, now_s)
            for vm in ending.vms:
                self.fleet.end_vm(vm, now_s)
            if ending.containers or ending.vms:
                decisions.append(ending)
