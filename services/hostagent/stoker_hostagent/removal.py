"""Removing a VM for sure, also when libvirt is away for a while."""

import asyncio

import structlog
from stoker_service.errors import StokerError

from stoker_hostagent.footprints import Footprints

log = structlog.get_logger()

REMOVE_AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait after each failed attempt, in seconds. After the last the VM is left to the next order."""


async def remove(footprints: Footprints, vm_id: str) -> bool:
    """Removes all there is of a VM; returns whether it is gone. One that is not there is gone."""
    for attempt, pause_s in enumerate((*REMOVE_AGAIN_S, None), start=1):
        try:
            removed = await footprints.remove(vm_id)
        except StokerError as error:
            log.warning("vm.not_removed", vm=vm_id, attempt=attempt, reason=error.reason, message=error.message)
        else:
            log.info("vm.removed", vm=vm_id, domains=removed.domains, mounts=removed.mounts, files=removed.files)
            return True
        if pause_s is not None:
            await asyncio.sleep(pause_s)
            # The time that libvirt is away does not count as attempts.
            await footprints.wait_available()
    log.error("vm.left_over", vm=vm_id, advice="end its QEMU process by hand")
    return False
