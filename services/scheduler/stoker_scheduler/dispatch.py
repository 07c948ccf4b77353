"""Who is served next, and how: the queue meets the fleet.

One round serves everybody who can be served now. It changes the fleet and the queue at once, so that no two decisions
count on the same memory or container, and returns what is to be done about it in the world. It looks only at demands
that what has changed since the last round can serve, so its cost does not grow with the number of those that wait.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from math import inf

from stoker_scheduler.eviction import Eviction
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.lead_times import LeadTimes
from stoker_scheduler.machines import Container, ContainerState, Demand, Shape, Version, Vm, VmState
from stoker_scheduler.placement import (
    AddContainer,
    AssignVm,
    CreateVm,
    Placement,
    largest_container_mib,
    place_new,
    reach_mib,
    shape_for,
    shared_reach_mib,
)
from stoker_scheduler.pool_demand import PoolDemand
from stoker_scheduler.waiting import Ticket, Waiting
from stoker_scheduler.wanting import Wanting
from stoker_scheduler.warming_pool import PoolPolicy, creations, surplus

OVERTAKEN_S = 30.0
"""For how long a demand that finds no room lets later ones of its tenant pass, unless settings say otherwise."""
ROOM_AGAIN_S = 0.5
"""How long after the last time it is seen anew whether room can be made, even if nothing has fallen idle."""


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

    def __init__(
        self,
        fleet: Fleet,
        waiting: Waiting,
        new_id: Callable[[str], str],
        *,
        overtaken_s: float = OVERTAKEN_S,
        wanted: Callable[[Version, float], None] = lambda _version, _now_s: None,
    ) -> None:
        """Begins to decide.

        Args:
            fleet: The fleet.
            waiting: The queue.
            new_id: Makes an id that begins as it is told.
            overtaken_s: For how long a demand that finds no room lets later ones of its tenant pass, in seconds.
            wanted: Called with each version of which a container is handed out or made, and when.
        """
        self.fleet = fleet
        self.waiting = waiting
        self.lead_times = LeadTimes()
        self.pool_demand = PoolDemand(self.lead_times)
        self._new_id = new_id
        self._overtaken_s = overtaken_s
        self._wanted = wanted
        self._wanting = Wanting()
        self._changed_tenants: dict[str, None] = {}
        self._is_wanting_new = False
        self._fallen_idle = 0
        self._made_room_s = -inf

    @property
    def is_room_wanted(self) -> bool:
        """Whether somebody waits for whom nothing is being made."""
        return len(self._wanting) > 0

    def round(self, now_s: float, *, may_refuse: bool) -> list[Decision]:
        """Serves all that can be served.

        Args:
            now_s: The time.
            may_refuse: Whether the fleet is complete, so that what no host can hold is turned away.
        """
        decisions: list[Decision] = []
        self._take_in(now_s, decisions)
        if may_refuse:
            self._turn_away(decisions)
        self._serve_from_shared_room(now_s, decisions)
        self._serve_from_own_room(now_s, decisions)
        if self._wanting and self._may_make_room(now_s):
            self._make_room(now_s, decisions)
        return decisions

    def hand(self, container: Container, now_s: float) -> Hand | None:
        """Gives a container that has just been made to whoever has waited longest for its version.

        None where nobody waits for it; it is idle then.
        """
        ticket = self.waiting.first(container.version.uid)
        if ticket is None:
            self.fleet.put_container(replace(container, state=ContainerState.IDLE, since_s=now_s))
            return None
        self.waiting.leave(ticket)
        return self._hand(ticket, container, now_s)

    def provision(self, version: Version, now_s: float, replaces: Collection[str] = ()) -> Container | Ending | None:
        """Begins another container of a version that is to be kept loaded, in the place of others or of none.

        Where there is no room for it now it returns what ends to make some, or None where none can be made.
        """
        placement = place_new(version, self.fleet, replaces)
        if isinstance(placement, AddContainer | AssignVm | CreateVm):
            return self._begin(version, placement, now_s, is_provisioned=True)
        ending = Eviction(self.fleet).room_for(Demand(version, ""))
        if ending:
            self._end(ending, now_s)
        return ending

    def prewarm(self, version: Version, now_s: float) -> Container | None:
        """Begins a container of a version that nobody waits for yet; None where there is no room to spare for it."""
        if self.is_room_wanted:
            return None
        placement = place_new(version, self.fleet)
        if isinstance(placement, AddContainer | AssignVm | CreateVm):
            return self._begin(version, placement, now_s)
        return None

    def fill_pool(self, policy: PoolPolicy, now_s: float) -> list[Vm]:
        """Begins VMs for the warming pool, unless a demand needs the room."""
        self.pool_demand.take_in(now_s)
        if self.is_room_wanted:
            return []
        wanted = self.pool_demand.sizes(policy.probability)
        return [self._new_vm(host, shape, "", now_s) for host, shape in creations(self.fleet, policy, wanted)]

    def thin_pool(self, policy: PoolPolicy, now_s: float) -> Ending:
        """Ends VMs of the warming pool of which there are far more than are wanted."""
        ending = Ending(vms=tuple(surplus(self.fleet, policy, self.pool_demand.sizes(policy.probability))))
        self._end(ending, now_s)
        return ending

    def pool_without_room(self, policy: PoolPolicy) -> int:
        """How many VMs of the default shape the warming pool is short of because no host has room for one."""
        shape = self.fleet.default_shape
        if self.fleet.room.largest_free_mib() >= shape.memory_mib:
            return 0
        wanted = max(
            policy.vms_per_host * len(self.fleet.hosts), self.pool_demand.sizes(policy.probability).get(shape, 0)
        )
        return max(0, wanted - self.fleet.memory.pooled_in_all(shape))

    def _take_in(self, now_s: float, decisions: list[Decision]) -> None:
        """Hands out what has fallen idle, and notes who wants something made."""
        for uid in self.waiting.take_changed() | self.fleet.lists.take_changed():
            while (ticket := self.waiting.first(uid)) and (idle := self.fleet.lists.idle_of_version(uid)):
                self._wanted(ticket.demand.version, now_s)
                self.waiting.take_turn(ticket.demand.version.tenant)
                self.waiting.leave(ticket)
                decisions.append(self._hand(ticket, self.fleet.container(idle), now_s))
            self._is_wanting_new |= self._see_who_wants(uid)
        self._changed_tenants |= self.fleet.room.take_changed()

    def _see_who_wants(self, uid: str) -> bool:
        """Notes the demand for a version for which the next container would be made; returns whether there is one."""
        ticket = self.waiting.nth(uid, self.fleet.lists.creating_count(uid))
        self._wanting.put(uid, ticket)
        if ticket:
            self._changed_tenants[ticket.demand.version.tenant] = None
        return ticket is not None

    def _turn_away(self, decisions: list[Decision]) -> None:
        largest_host_mib = self.fleet.room.largest_host_mib()
        if largest_host_mib is None or not self._wanting:
            return
        largest_mib = largest_container_mib(largest_host_mib, self.fleet)
        while self._wanting and self._wanting.largest_mib() > largest_mib:
            ticket = self._wanting.largest()
            self.waiting.leave(ticket)
            self._see_who_wants(ticket.demand.version.uid)
            decisions.append(TurnAway(ticket, largest_mib))

    def _serve_from_shared_room(self, now_s: float, decisions: list[Decision]) -> None:
        """Serves the tenants in turn as long as there is room that anybody may have."""
        hopeless: set[str] = set()
        while self._wanting and (shared_mib := shared_reach_mib(self.fleet)) >= self._wanting.least_mib():
            for tenant in self.waiting.in_turn():
                if tenant in hopeless or tenant not in self._wanting.tenants():
                    continue
                within_mib = max(shared_mib, reach_mib(tenant, self.fleet))
                if ticket := self._next(tenant, within_mib, now_s):
                    decisions.append(self._make(ticket, now_s))
                    break
                # There is less and less room in the course of a round.
                hopeless.add(tenant)
            else:
                return

    def _serve_from_own_room(self, now_s: float, decisions: list[Decision]) -> None:
        """Serves the tenants whose own VMs have got other room, or that want something else."""
        for tenant in list(self._changed_tenants):
            while ticket := self._next(tenant, reach_mib(tenant, self.fleet), now_s):
                decisions.append(self._make(ticket, now_s))
        self._changed_tenants = {}

    def _next(self, tenant: str, within_mib: int, now_s: float) -> Ticket | None:
        """A tenant's next demand for which there is room; none while one that has waited too long finds none."""
        ticket = self._wanting.earliest(tenant, within_mib)
        if ticket is None or ticket == (oldest := self._wanting.oldest(tenant)):
            return ticket
        return ticket if oldest is None or now_s - oldest.since_s < self._overtaken_s else None

    def _hand(self, ticket: Ticket, container: Container, now_s: float) -> Hand:
        leased = replace(container, state=ContainerState.LEASED, since_s=now_s)
        self.fleet.put_container(leased)
        return Hand(ticket, leased)

    def _make(self, ticket: Ticket, now_s: float) -> Make:
        version = ticket.demand.version
        placement = place_new(version, self.fleet, ticket.demand.replaces)
        if not isinstance(placement, AddContainer | AssignVm | CreateVm):
            raise AssertionError(f"there was room for {version.memory_mib} MiB, and then there was none")
        self._wanted(version, now_s)
        if not isinstance(placement, AddContainer) and (shape := shape_for(version.memory_mib, self.fleet)):
            self.pool_demand.note(shape)
        container = self._begin(version, placement, now_s)
        self.waiting.take_turn(version.tenant)
        self._see_who_wants(version.uid)
        # A VM that is its own now may have room for more.
        self._changed_tenants[version.tenant] = None
        return Make(ticket, container, placement)

    def _begin(
        self,
        version: Version,
        placement: AddContainer | AssignVm | CreateVm,
        now_s: float,
        *,
        is_provisioned: bool = False,
    ) -> Container:
        match placement:
            case AddContainer(vm):
                pass
            case AssignVm(vm):
                self.fleet.put_vm(replace(self.fleet.vm(vm), tenant=version.tenant))
            case CreateVm(host, shape):
                vm = self._new_vm(host, shape, version.tenant, now_s).id
        container = Container(self._new_id("c-"), vm, version, ContainerState.CREATING, now_s, is_provisioned)
        self.fleet.put_container(container)
        return container

    def _new_vm(self, host: str, shape: Shape, tenant: str, now_s: float) -> Vm:
        memory_mib = self.fleet.container_memory_mib(shape)
        vm = Vm(self._new_id("vm-"), host, shape, VmState.CREATING, memory_mib, tenant, now_s)
        self.fleet.put_vm(vm)
        return vm

    def _may_make_room(self, now_s: float) -> bool:
        """Whether something has changed for those who found no room: otherwise all that can be done has been done."""
        is_due = self._is_wanting_new or self.fleet.fallen_idle != self._fallen_idle
        return is_due or now_s - self._made_room_s >= ROOM_AGAIN_S

    def _make_room(self, now_s: float, decisions: list[Decision]) -> None:
        """Ends what is not in use, for those who found no room."""
        self._is_wanting_new, self._fallen_idle, self._made_room_s = False, self.fleet.fallen_idle, now_s
        eviction, least_mib = Eviction(self.fleet), self._wanting.least_mib()
        may_end_vms = not eviction.is_hopeless_on_hosts(least_mib)
        wanting = self._wanting.tenants()
        for tenant in [tenant for tenant in self.waiting.in_turn() if tenant in wanting]:
            if not may_end_vms and not eviction.has_own(tenant):
                continue
            for ticket in self._wanting.in_order(tenant):
                decisions.extend(self._room_for(ticket, eviction, now_s))
                may_end_vms = may_end_vms and not eviction.is_hopeless_on_hosts(least_mib)
                least_of_mib = self._wanting.least_of_mib(tenant)
                if eviction.is_hopeless_in_vms(tenant, least_of_mib) and (
                    not may_end_vms or eviction.is_hopeless_on_hosts(least_of_mib)
                ):
                    break

    def _room_for(self, ticket: Ticket, eviction: Eviction, now_s: float) -> list[Decision]:
        """Makes room for all demands of a version for which nothing is being made."""
        uid = ticket.demand.version.uid
        made: list[Decision] = []
        for _ in range(self.waiting.count(uid) - self.fleet.lists.creating_count(uid)):
            ending = eviction.room_for(ticket.demand)
            if ending is None:
                break
            self._end(ending, now_s)
            if ending.containers or ending.vms:
                made.append(ending)
        return made

    def _end(self, ending: Ending, now_s: float) -> None:
        for container in ending.containers:
            self.fleet.end_container(container, now_s)
        for vm in ending.vms:
            self.fleet.end_vm(vm, now_s)
