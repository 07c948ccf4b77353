"""VMs made, given to their tenants and destroyed, by command to their hosts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from stoker_service.background import Background
from stoker_service.telemetry import tracer

from stoker_scheduler.commands import AssignVm, CommandFailed, CreateVm, DestroyVm, Done
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.host_streams import HostStreams
from stoker_scheduler.lead_times import LeadTimes
from stoker_scheduler.machines import Vm, VmState

log = structlog.get_logger()

FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
"""A host that failed to make a VM gets no other for a while: a second, twice as long with each failure in a row."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long hosts may take, in seconds."""

    vm_s: float
    """To make or destroy a VM."""
    container_s: float
    """To make or destroy a container."""
    command_s: float
    """For anything else."""


class Vms:
    """Sees to it that VMs become what the fleet says they are meant to be."""

    def __init__(
        self,
        fleet: Fleet,
        streams: HostStreams,
        background: Background,
        timeouts: Timeouts,
        clock: Callable[[], float],
        lead_times: LeadTimes,
    ) -> None:
        self._fleet = fleet
        self._streams = streams
        self._background = background
        self._timeouts = timeouts
        self._clock = clock
        self._lead_times = lead_times
        self._preparing: dict[str, asyncio.Task[CommandFailed | None]] = {}
        self._failures_in_a_row: dict[str, int] = {}

    def prepare(self, vm: str) -> "asyncio.Task[CommandFailed | None]":
        """Makes a VM that the fleet has as being created, and gives it to the tenant it is meant for, if to any.

        A VM that cannot be made or given is destroyed. The task tells why, and raises nothing.
        """
        preparing = self._preparing.get(vm)
        if preparing is None:
            preparing = self._preparing[vm] = self._background.start(self._prepare(vm), f"prepare {vm}")
        return preparing

    async def ready(self, vm: str, tenant: str) -> None:
        """Waits until a VM that is meant for a tenant takes containers.

        Raises:
            CommandFailed: It will not.
        """
        while (found := self._fleet.find_vm(vm)) and found.tenant == tenant and found.state < VmState.ACTIVE:
            if failure := await asyncio.shield(self.prepare(vm)):
                raise CommandFailed(failure.reason, failure.message)
        if found is None or found.tenant != tenant or found.state is not VmState.ACTIVE:
            raise CommandFailed("VM_LOST", f"{vm} ended before it took containers")

    def end(self, vm: str) -> None:
        """Destroys a VM, unless that is being done."""
        found = self._fleet.find_vm(vm)
        if found and found.state is not VmState.ENDING:
            self._fleet.end_vm(vm, self._clock())
            self.destroy(vm)

    def destroy(self, vm: str) -> None:
        """Has a VM destroyed that the fleet has as ending. It stays so until its host has done it."""
        self._background.start(self._destroy(vm), f"destroy {vm}")

    async def _prepare(self, vm: str) -> CommandFailed | None:
        # The fleet is looked at again after every command: in the meantime it may have learnt more, or given a VM of
        # the warming pool to a tenant.
        try:
            while found := self._fleet.find_vm(vm):
                if found.state is VmState.CREATING:
                    await self._create(found)
                elif found.state in (VmState.WARMING, VmState.ASSIGNING) and found.tenant:
                    await self._assign(found)
                else:
                    break
        except CommandFailed as failure:
            log.warning("vm.failed", vm=vm, reason=failure.reason, message=failure.message)
            # What a lost host has will be known when it comes back.
            if not failure.is_host_lost:
                self.end(vm)
            return failure
        finally:
            del self._preparing[vm]
        return None

    async def _create(self, vm: Vm) -> None:
        with tracer().start_as_current_span("vm.create"):
            begun_s = self._clock()
            try:
                made = await self._streams.order(vm.host, CreateVm(vm.id, vm.shape), self._timeouts.vm_s)
            except CommandFailed as failure:
                if not failure.is_host_lost:
                    self._rest(vm.host)
                raise
        is_clone = isinstance(made, Done) and made.is_clone
        self._lead_times.note(vm.shape, self._clock() - begun_s, is_clone=is_clone)
        self._failures_in_a_row.pop(vm.host, None)
        self._advance(vm.id, VmState.WARMING)
        log.info("vm.created", vm=vm.id, host=vm.host, memory_mib=vm.shape.memory_mib, is_clone=is_clone)

    async def _assign(self, vm: Vm) -> None:
        with tracer().start_as_current_span("vm.assign"):
            first = next((container.version for container in self._fleet.containers_in(vm.id)), None)
            await self._streams.order(vm.host, AssignVm(vm.id, vm.tenant, first), self._timeouts.command_s)
        self._advance(vm.id, VmState.ACTIVE)
        log.info("vm.assigned", vm=vm.id, host=vm.host, tenant=vm.tenant)

    def _advance(self, vm: str, state: VmState) -> None:
        """Notes that a command brought a VM at least so far."""
        found = self._fleet.find_vm(vm)
        if found and found.state < state:
            self._fleet.put_vm(replace(found, state=state, since_s=self._clock()))

    async def _destroy(self, vm: str) -> None:
        found = self._fleet.find_vm(vm)
        if found is None:
            return
        try:
            await self._streams.order(found.host, DestroyVm(vm), self._timeouts.vm_s)
        except CommandFailed as failure:
            log.warning("vm.not_destroyed", vm=vm, host=found.host, reason=failure.reason, message=failure.message)
            return
        if self._fleet.find_vm(vm):
            self._fleet.remove_vm(vm, self._clock())
            log.info("vm.destroyed", vm=vm, host=found.host, tenant=found.tenant)

    def _rest(self, host: str) -> None:
        failures = self._failures_in_a_row[host] = self._failures_in_a_row.get(host, 0) + 1
        rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(failures - 1, 16))
        self._fleet.rest_host(host)
        log.warning("host.rests", host=host, rest_s=rest_s, failures=failures)
        asyncio.get_running_loop().call_later(rest_s, self._wake, host)

    def _wake(self, host: str) -> None:
        if self._fleet.find_host(host):
            self._fleet.wake_host(host)
