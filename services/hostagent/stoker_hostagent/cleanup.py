"""Removes all that this host's agent has made in the hypervisor and the file systems."""

from stoker_hostagent.footprints import Footprints, Removed
from stoker_hostagent.libvirt_connection import connected
from stoker_hostagent.libvirt_domains import LibvirtDomains
from stoker_hostagent.state_dir import managed
from stoker_hostagent.vm import VmSettings


async def run(settings: VmSettings) -> Removed:
    """Destroys all domains of this host's id, and removes mounts, sockets and console logs. Repeating it does no harm.

    Raises:
        StokerError: HOST_AGENT_RUNNING (end it first), STATE_DIR_INVALID, HYPERVISOR_UNAVAILABLE, HYPERVISOR_FAILED,
            SHARE_FAILED.
    """
    removed = Removed()
    with managed(settings.state_dir) as places:
        async with connected(settings.libvirt_uri) as connection:
            footprints = Footprints(settings.host_id, places, LibvirtDomains(connection))
            for vm_id in sorted({*await footprints.found(), *footprints.left()}):
                removed += await footprints.remove(vm_id)
    return removed
