"""Containers for callers: demands taken in, the dispatcher's decisions carried out, answers given."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import structlog
from opentelemetry import trace
from stoker_service.background import Background

from stoker_scheduler import errors
from stoker_scheduler.callers import Answer, Callers, Grant, Start
from stoker_scheduler.commands import CommandFailed, Done, LoadFailure
from stoker_scheduler.containers import Containers
from stoker_scheduler.dispatch import Decision, Dispatcher, Hand, Make, TurnAway
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.lease_keeper import LeaseKeeper
from stoker_scheduler.limits import Admission
from stoker_scheduler.machines import Container, Demand, FunctionKey
from stoker_scheduler.replacing import Replacing
from stoker_scheduler.vms import Vms
from stoker_scheduler.waiting import Ticket

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often demands are tried."""

    wait_s: float
    """How long a demand without a deadline waits, in seconds."""
    attempts: int
    """How often hosts may fail to give a demand a container."""
    recovered_s: float
    """Until when hosts may still be missing since the scheduler's start, so that nothing is called too large."""


class Capacity:
    """Serves demands."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        leases: LeaseKeeper,
        vms: Vms,
        containers: Containers,
        background: Background,
        admission: Admission,
        replacing: Replacing,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._waiting = dispatcher.waiting
        self._leases = leases
        self._vms = vms
        self._containers = containers
        self._background = background
        self._admission = admission
        self._replacing = replacing
        self._limits = limits
        self._clock = clock
        self._callers = Callers()
        self._is_round_due = asyncio.Event()
        self._is_stopping = False

    async def acquire(self, demand: Demand, wait_s: float | None) -> Answer:
        """Leases a container, waiting for capacity up to `wait_s`.

        Raises:
            StokerError: FUNCTION_CONCURRENCY, TENANT_CONCURRENCY, QUEUE_FULL, TOO_LARGE, DEADLINE_EXCEEDED,
                NO_CAPACITY, STOPPING, or why hosts failed.
        """
        if self._is_stopping:
            raise errors.stopping()
        room = self._admission.room(
            demand.version, self._leases.held_of(demand.holder, demand.replaces, demand.version)
        )
        ticket = self._waiting.join(demand, self._clock())
        self._admission.admit(ticket, room)
        answer = self._callers.add(ticket)
        self.look_again()
        is_answered = False
        try:
            async with asyncio.timeout(self._limits.wait_s if wait_s is None else wait_s):
                answered = await answer
            is_answered = True
            return answered
        except TimeoutError as error:
            if wait_s is None:
                raise errors.no_capacity_in_time(self._limits.wait_s) from error
            raise errors.deadline_exceeded() from error
        finally:
            self._waiting.leave(ticket)
            self._admission.settle(ticket)
            # It may have been granted a container in the moment in which it stopped waiting.
            late = self._callers.remove(ticket)
            if isinstance(late, Grant) and not is_answered:
                self._leases.release(late.lease.id)

    async def acquire_idle(self, demand: Demand, wait_s: float | None) -> Answer | None:
        """Leases a container that is idle now; None where there is none.

        Raises:
            StokerError: As `acquire`.
        """
        if self._fleet.lists.idle_of_version(demand.version.uid) is None:
            return None
        return await self.acquire(demand, wait_s)

    async def provide(self, container: Container) -> bool:
        """Makes a container that the fleet has as being created, for nobody; returns whether it was made.

        Who waits for its version then gets it.
        """
        _log_placed("Provision", container)
        try:
            made = await self._containers.make(container)
        except CommandFailed as failure:
            log.warning("provision.failed", container=container.id, reason=failure.reason, message=failure.message)
            return False
        if isinstance(made, LoadFailure):
            version = container.version
            log.warning("provision.load_failed", tenant=version.tenant, function=version.function, type=made.type)
            return False
        await self._give(container, "", "", made)
        return True

    def waiting_for(self, function: FunctionKey) -> int:
        """How many demands wait for containers of a function."""
        return self._waiting.count_of_function(function)

    def look_again(self) -> None:
        """Sees soon whether something can be done for those who wait."""
        if len(self._waiting):
            self._is_round_due.set()

    async def run(self) -> None:
        """Serves those who wait whenever something has changed, until it is cancelled."""
        while True:
            await self._is_round_due.wait()
            now_s = self._clock()
            decisions = self._dispatcher.round(now_s, may_refuse=now_s >= self._limits.recovered_s)
            # Whatever the round itself changed needs no other round.
            self._is_round_due.clear()
            for decision in decisions:
                self._carry_out(decision)

    def stop(self) -> None:
        """Turns away those who wait, and those who come."""
        self._is_stopping = True
        self._callers.answer_all(errors.stopping())

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Hand(ticket, container):
                self._start(self._lease(ticket, container, Start.WARM), ticket)
            case Make(ticket, container, placement):
                self._start(self._make(ticket, container, type(placement).__name__), ticket)
            case TurnAway(ticket, largest_mib):
                error = errors.too_large(ticket.demand.version.memory_mib, largest_mib)
                self._callers.answer(ticket, error)
            case Ending(containers, vms):
                log.info("room.made", containers=containers, vms=vms)
                for container in containers:
                    self._containers.destroy(container)
                for vm in vms:
                    self._vms.destroy(vm)

    async def _make(self, ticket: Ticket, container: Container, how: str) -> None:
        _log_placed(how, container)
        lease_id, holder = secrets.token_hex(16), ticket.demand.holder
        try:
            # Others that wait for the version by now get the container too.
            made = await self._containers.make(
                container, lease_id, holder, is_in_background=ticket.demand.is_in_background
            )
        except CommandFailed as failure:
            # Another container may have served it by now.
            if ticket in self._waiting:
                self._attempt_failed(ticket, failure)
            return
        match made:
            case LoadFailure():
                self._answer_load_failure(ticket, made)
            case Done():
                await self._give(container, lease_id, holder, made)

    async def _give(self, container: Container, lease_id: str, holder: str, made: Done) -> None:
        """Gives a container that was made under a lease to whoever has waited longest for one of its version."""
        start = Start.PRIMED if made.is_primed else Start.COLD
        hand = self._dispatcher.hand(container, self._clock())
        if hand is None:
            if lease_id:
                self._containers.unlease(container.id)
        elif lease_id and hand.ticket.demand.holder == holder:
            self._grant(hand.ticket, hand.container, lease_id, start, made.init_ms)
        else:
            await self._lease(hand.ticket, hand.container, start, made.init_ms)

    async def _lease(self, ticket: Ticket, container: Container, start: Start, init_ms: float = 0.0) -> None:
        lease_id = secrets.token_hex(16)
        try:
            await self._containers.lease(container, lease_id, ticket.demand.holder)
        except CommandFailed as failure:
            self._come_back(ticket, failure)
        else:
            self._grant(ticket, container, lease_id, start, init_ms)

    def _grant(self, ticket: Ticket, container: Container, lease_id: str, start: Start, init_ms: float) -> None:
        allowed = self._admission.allowed(ticket)
        lease = self._leases.grant(lease_id, container, ticket.demand.holder, allowed)
        if lease is None:
            self._come_back(ticket, CommandFailed("CONTAINER_LOST", f"{container.id} ended as it was leased"))
            return
        self._admission.settle(ticket)
        self._replacing.granted(ticket.demand)
        host = self._fleet.host(lease.host)
        _log_leased(start, container, lease.host, lease.holder)
        if not self._callers.answer(ticket, Grant(lease, self._leases.ttl_s, container.vm, host, start, init_ms)):
            self._leases.release(lease_id)

    def _answer_load_failure(self, ticket: Ticket, failure: LoadFailure) -> None:
        version = ticket.demand.version
        told = ticket if ticket in self._waiting else self._waiting.first(version.uid)
        log.info("container.load_failed", tenant=version.tenant, function=version.function, version=version.number)
        if told:
            self._waiting.leave(told)
            self._callers.answer(told, failure)

    def _come_back(self, ticket: Ticket, failure: CommandFailed) -> None:
        """Puts a demand back into the queue that got a container for nothing."""
        if ticket in self._callers:
            self._waiting.rejoin(ticket)
            self._attempt_failed(ticket, failure)

    def _attempt_failed(self, ticket: Ticket, failure: CommandFailed) -> None:
        failures = self._callers.count_failure(ticket)
        log.warning("attempt.failed", failures=failures, reason=failure.reason, message=failure.message)
        if failures >= self._limits.attempts:
            self._waiting.leave(ticket)
            self._callers.answer(ticket, errors.not_made(failures, failure.reason, failure.message))
        self.look_again()

    def _start(self, work: Coroutine[None, None, None], ticket: Ticket) -> None:
        """Starts work for a demand, as part of its caller's trace."""
        with trace.use_span(self._callers.span(ticket)):
            self._background.start(work, f"demand {ticket.number}")


def _log_placed(how: str, container: Container) -> None:
    version = container.version
    log.info(
        "container.placed",
        how=how,
        container=container.id,
        vm=container.vm,
        tenant=version.tenant,
        function=version.function,
        version=version.number,
    )


def _log_leased(start: Start, container: Container, host: str, holder: str) -> None:
    log.info(
        "container.leased",
        start=start.name.lower(),
        container=container.id,
        vm=container.vm,
        host=host,
        holder=holder,
        tenant=container.version.tenant,
        function=container.version.function,
        version=container.version.number,
    )
