"""Domains, as far as VMs need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import libvirt

from stoker_hostagent import domain_metadata
from stoker_hostagent.domain_metadata import MetadataInvalid, VmRecord
from stoker_hostagent.libvirt_connection import LibvirtConnection, NoSuchDomain

SAVE_S = 120.0
"""How long saving a domain may take, in seconds. 160 MB take 2 to 5 s."""
RESTORE_S = 60.0
"""How long restoring one may take, in seconds. 160 MB take 0.8 s; several at once on a busy host much longer."""


@dataclass(frozen=True, slots=True)
class FoundDomain:
    """A running domain."""

    name: str
    record: VmRecord | None
    """What it says of itself; None where it says nothing that can be read."""


class LibvirtDomains:
    """The domains of a connection.

    Every method raises `StokerError`: HYPERVISOR_UNAVAILABLE, HYPERVISOR_FAILED, HYPERVISOR_BUSY.
    """

    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection

    async def create(self, xml: str) -> None:
        """Starts a transient domain, of which nothing is left when it ends."""
        await self._connection.call(lambda connection: connection.createXML(xml))

    async def save(self, name: str, file: Path) -> None:
        """Writes a domain's memory into a file, and ends it.

        Raises:
            NoSuchDomain: It has ended.
        """
        await self._connection.call(lambda connection: connection.lookupByName(name).save(str(file)), SAVE_S)

    async def restore(self, file: Path) -> None:
        """Starts a transient domain from what `save` has written; `file` may be a pipe."""
        running = libvirt.VIR_DOMAIN_SAVE_RUNNING
        await self._connection.call(lambda connection: connection.restoreFlags(str(file), None, running), RESTORE_S)

    async def version(self) -> str:
        """What the versions of libvirt and of its hypervisor are."""
        return await self._connection.call(lambda connection: f"{connection.getLibVersion()} {connection.getVersion()}")

    async def destroy(self, name: str) -> bool:
        """Ends a domain at once; returns whether there was one."""
        try:
            await self._connection.call(lambda connection: connection.lookupByName(name).destroy())
        except NoSuchDomain:
            return False
        return True

    async def list(self) -> Sequence[FoundDomain]:
        """All running domains, whosever they are."""
        return await self._connection.call(_list)

    async def set_record(self, name: str, record: VmRecord) -> None:
        """Replaces what a running domain says of itself.

        Raises:
            NoSuchDomain: It has ended.
        """
        xml = domain_metadata.to_xml(record)
        await self._connection.call(
            lambda connection: connection.lookupByName(name).setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                xml,
                domain_metadata.PREFIX,
                domain_metadata.NAMESPACE,
                libvirt.VIR_DOMAIN_AFFECT_LIVE,
            )
        )

    async def attach(self, name: str, device_xml: str) -> None:
        """Plugs a device into a running domain.

        Raises:
            NoSuchDomain: It has ended.
        """
        await self._connection.call(
            lambda connection: connection.lookupByName(name).attachDeviceFlags(
                device_xml, libvirt.VIR_DOMAIN_AFFECT_LIVE
            )
        )

    async def wait_available(self) -> None:
        """Returns when libvirt is there."""
        await self._connection.wait_connected()


def _list(connection: libvirt.virConnect) -> list[FoundDomain]:
    found: list[FoundDomain] = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain_metadata.NAMESPACE)
            record = domain_metadata.from_xml(text)
        except MetadataInvalid:
            record = None
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # it has ended since it was listed
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                raise
            record = None
        found.append(FoundDomain(domain.name(), record))
    return found
