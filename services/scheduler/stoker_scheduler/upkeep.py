"""What has to be done from time to time, whether or not anybody asks for anything."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from stoker_service.background import Background

from stoker_scheduler.capacity import Capacity
from stoker_scheduler.containers import Containers
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.keep_alive import Ending, KeepAlive, empty_for_long
from stoker_scheduler.lease_keeper import LeaseKeeper
from stoker_scheduler.machines import Container, VmState
from stoker_scheduler.prewarming import Prewarming
from stoker_scheduler.provisioning import Provisioning
from stoker_scheduler.replacing import Replacing
from stoker_scheduler.targets import Targets
from stoker_scheduler.vms import Timeouts, Vms
from stoker_scheduler.warming_pool import PoolPolicy


@dataclass(frozen=True, slots=True)
class Policies:
    """What decides on that which nobody asks for."""

    keep_alive: KeepAlive
    replacing: Replacing
    vm_idle_s: float
    """How long a tenant's VM without containers is kept, in seconds."""
    pool: PoolPolicy
    targets: Targets
    provisioning: Provisioning
    prewarming: Prewarming


class Upkeep:
    """Ends what is not needed, sees through what others have left half done, and makes what is to wait for callers."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        leases: LeaseKeeper,
        vms: Vms,
        containers: Containers,
        capacity: Capacity,
        background: Background,
        *,
        policies: Policies,
        timeouts: Timeouts,
        clock: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._leases = leases
        self._vms = vms
        self._containers = containers
        self._capacity = capacity
        self._background = background
        self._policies = policies
        self._timeouts = timeouts
        self._clock = clock

    async def run(self, interval_s: float) -> None:
        """Does all of it again and again, until it is cancelled.

        Args:
            interval_s: How long to wait in between, in seconds.
        """
        while True:
            self._keep_leases()
            self._end_old()
            self._finish()
            self._provision()
            self._tend_pool()
            # What could not be done for somebody may be possible now.
            self._capacity.look_again()
            await asyncio.sleep(interval_s)

    def _keep_leases(self) -> None:
        self._leases.end_expired()
        targets = self._policies.targets
        for function in targets.limited():
            self._leases.revoke_excess(function, targets.of(function).maximum)

    def _end_old(self) -> None:
        now_s, policies = self._clock(), self._policies
        for container in (
            *policies.keep_alive.ending(self._fleet, now_s),
            *policies.replacing.ending(self._fleet, now_s),
        ):
            self._containers.end(container)
        for vm in empty_for_long(self._fleet, now_s, policies.vm_idle_s):
            self._vms.end(vm)
        # Where the warming pool needs the memory, a VM ends as soon as it is empty.
        empty = islice(self._fleet.empty_longest_first(), self._dispatcher.pool_without_room(policies.pool))
        for vm, _ in list(empty):
            self._vms.end(vm.id)

    def _finish(self) -> None:
        """Sees through what a host was about when it joined, and destroys again what it did not."""
        now_s, timeouts = self._clock(), self._timeouts
        for vm in list(self._fleet.unsettled_vms()):
            if vm.state is not VmState.ENDING:
                self._vms.prepare(vm.id)
            elif now_s - vm.since_s > timeouts.vm_s:
                self._fleet.end_vm(vm.id, now_s)
                self._vms.destroy(vm.id)
        for container in list(self._fleet.lists.ending()):
            is_alone = self._fleet.vm(container.vm).state is not VmState.ENDING
            if is_alone and now_s - container.since_s > timeouts.container_s:
                self._fleet.end_container(container.id, now_s)
                self._containers.destroy(container.id)
        longest_s = timeouts.vm_s + timeouts.command_s + timeouts.container_s
        for container in list(self._fleet.lists.creating()):
            if now_s - container.since_s > longest_s:
                self._containers.end(container.id)

    def _provision(self) -> None:
        plan = self._policies.provisioning.plan(self._clock())
        for container in plan.make:
            self._background.start(self._provide(container), f"provide {container.id}")
        for container in plan.end:
            self._containers.end(container)
        for ending in plan.make_room:
            self._destroy(ending)
        for container in self._policies.prewarming.plan(self._clock()):
            self._background.start(self._capacity.provide(container), f"prewarm {container.id}")

    async def _provide(self, container: Container) -> None:
        if await self._capacity.provide(container):
            self._policies.provisioning.made(container.version.uid)
        else:
            self._policies.provisioning.failed(container.version.uid, self._clock())

    def _tend_pool(self) -> None:
        for vm in self._dispatcher.fill_pool(self._policies.pool, self._clock()):
            self._vms.prepare(vm.id)
        self._destroy(self._dispatcher.thin_pool(self._policies.pool, self._clock()))

    def _destroy(self, ending: Ending) -> None:
        """Has destroyed what the fleet has as ending."""
        for container in ending.containers:
            self._containers.destroy(container)
        for vm in ending.vms:
            self._vms.destroy(vm)
