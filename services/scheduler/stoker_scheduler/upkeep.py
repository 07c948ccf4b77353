"""What has to be done from time to time, whether or not anybody asks for anything."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from stoker_scheduler.containers import Containers
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.keep_alive import too_old
from stoker_scheduler.lease_keeper import LeaseKeeper
from stoker_scheduler.machines import VmState
from stoker_scheduler.vms import Timeouts, Vms
from stoker_scheduler.warming_pool import PoolPolicy


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How long what nobody uses is kept, in seconds."""

    container_idle_s: float
    vm_idle_s: float


class Upkeep:
    """Ends what is too old, sees through what others have left half done, and fills the warming pool."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        leases: LeaseKeeper,
        vms: Vms,
        containers: Containers,
        *,
        keep_alive: KeepAlive,
        pool: PoolPolicy,
        timeouts: Timeouts,
        clock: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._leases = leases
        self._vms = vms
        self._containers = containers
        self._keep_alive = keep_alive
        self._pool = pool
        self._timeouts = timeouts
        self._clock = clock

    async def run(self, interval_s: float, look_again: Callable[[], None]) -> None:
        """Does all of it again and again, until it is cancelled.

        Args:
            interval_s: How long to wait in between, in seconds.
            look_again: Called after each time, as what could not be done for somebody may be possible now.
        """
        while True:
            self._leases.end_expired()
            self._end_old()
            self._finish()
            self._fill_pool()
            look_again()
            await asyncio.sleep(interval_s)

    def _end_old(self) -> None:
        ending = too_old(
            self._fleet,
            self._clock(),
            container_idle_s=self._keep_alive.container_idle_s,
            vm_idle_s=self._keep_alive.vm_idle_s,
        )
        for container in ending.containers:
            self._containers.end(container)
        for vm in ending.vms:
            self._vms.end(vm)

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

    def _fill_pool(self) -> None:
        for vm in self._dispatcher.fill_pool(self._pool, self._clock()):
            self._vms.prepare(vm.id)
