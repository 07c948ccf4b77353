"""How VMs end: whoever waits for them gives up, and all there is of them is removed, also when libvirt is away."""

import asyncio
from collections.abc import Callable

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent.footprints import Footprints
from stoker_hostagent.virtual_machine import VirtualMachine
from stoker_hostagent.vm import GoneReason

log = structlog.get_logger()

REMOVE_S = 60.0
"""How long whoever has ordered a VM's end waits for it, in seconds."""
REMOVE_AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait after each failed attempt, in seconds. After the last the VM is left to the next order."""


class Removal:
    """Ends the VMs of one host."""

    def __init__(
        self, footprints: Footprints, tasks: Background, removed: Callable[[VirtualMachine, GoneReason], None]
    ) -> None:
        """Has ended none yet.

        Args:
            footprints: What VMs are made of on this host.
            tasks: What owns the removing.
            removed: Told of each VM of which nothing is left, and why it was ended.
        """
        self._footprints = footprints
        self._tasks = tasks
        self._removed = removed

    def begin(self, machine: VirtualMachine, reason: GoneReason) -> asyncio.Task[None]:
        """Begins to end a VM, if that has not begun yet; returns what removes it."""
        if machine.gone_reason is None:
            log.info("vm.ending", vm=machine.id, tenant=machine.record.tenant, reason=reason.value)
            machine.end(reason)
        if machine.removing is None:
            machine.removing = self._tasks.start(self._remove_machine(machine), f"remove {machine.id}")
        return machine.removing

    async def finish(self, machine: VirtualMachine, reason: GoneReason) -> None:
        """Ends a VM, and returns when nothing is left of it, or that takes too long."""
        await asyncio.wait([self.begin(machine, reason)], timeout=REMOVE_S)

    def remove_stray(self, vm_id: str) -> asyncio.Task[bool]:
        """Begins to remove what there is of a VM that nobody wants."""
        return self._tasks.start(self._remove(vm_id), f"remove {vm_id}")

    async def _remove_machine(self, machine: VirtualMachine) -> None:
        # Whoever is at work on it gives up soon, as its guest cannot be reached any more.
        async with machine.turn:
            is_gone = await self._remove(machine.id)
        machine.removing = None
        if is_gone and machine.gone_reason is not None:
            self._removed(machine, machine.gone_reason)

    async def _remove(self, vm_id: str) -> bool:
        """Removes all there is of a VM; returns whether it is gone. One that is not there is gone."""
        for attempt, pause_s in enumerate((*REMOVE_AGAIN_S, None), start=1):
            try:
                removed = await self._footprints.remove(vm_id)
            except StokerError as error:
                log.warning("vm.not_removed", vm=vm_id, attempt=attempt, reason=error.reason, message=error.message)
            else:
                log.info("vm.removed", vm=vm_id, domains=removed.domains, mounts=removed.mounts, files=removed.files)
                return True
            if pause_s is not None:
                await asyncio.sleep(pause_s)
                # The time that libvirt is away does not count as attempts.
                await self._footprints.wait_available()
        log.error("vm.left_over", vm=vm_id, advice="end its QEMU process by hand")
        return False
