"""What VMs are made of on their host: a domain, a socket, a console log, a mount. Made here, and removed here.

Each step looks at what is there and does what is missing, so that it can be repeated after a crash.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stoker_hostagent import domain_xml, image_feed, shares, vm_errors
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.domain_xml import NotOurs
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.libvirt_connection import NoSuchDomain
from stoker_hostagent.libvirt_domains import LibvirtDomains
from stoker_hostagent.save_image import DoesNotFit
from stoker_hostagent.shares import Shares
from stoker_hostagent.state_dir import Places
from stoker_hostagent.template_store import Template
from stoker_hostagent.vm import VM_ID

CONSOLE_TAIL_LINES = 30
_CONSOLE_TAIL_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was removed."""

    domains: int = 0
    mounts: int = 0
    files: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.domains + other.domains, self.mounts + other.mounts, self.files + other.files)


class Footprints:
    """What the VMs of one host agent are made of.

    Every coroutine raises `StokerError`: HYPERVISOR_UNAVAILABLE, HYPERVISOR_FAILED, HYPERVISOR_BUSY; DOMAIN_GONE where
    it is about a domain that has ended; SHARE_FAILED where it is about a mount.
    """

    def __init__(self, host_id: str, places: Places, domains: LibvirtDomains) -> None:
        self._host_id = host_id
        self._places = places
        self._domains = domains
        self._shares = Shares(places.shares)

    def socket(self, vm_id: str) -> Path:
        """Where a VM's guest can be reached."""
        return self._places.devices(vm_id).channel

    def container_ports(self, vm_id: str) -> Sequence[Path]:
        """Where the ports of a VM's containers can be reached."""
        return self._places.devices(vm_id).container_ports

    @property
    def templates(self) -> Path:
        """Where templates are kept."""
        return self._places.templates

    def vm_of(self, domain: str) -> str | None:
        """The VM that is the domain of that name; None where it is none of this host agent's."""
        return domain_xml.vm_of_domain(self._host_id, domain)

    async def start(
        self, record: VmRecord, domain_uuid: uuid.UUID, image: GuestImage, accelerator: Accelerator
    ) -> None:
        """Starts a VM's domain, which boots."""
        devices = self._places.devices(record.vm_id)
        await self._domains.create(domain_xml.domain(record, domain_uuid, image, accelerator, devices))

    async def clone(self, record: VmRecord, domain_uuid: uuid.UUID, template: Template) -> None:
        """Starts a VM's domain, which goes on from a template.

        Raises:
            StokerError: Also CLONE_FAILED, where the template cannot be read.
        """
        devices = self._places.devices(record.vm_id)
        try:
            header = template.header.with_xml(domain_xml.clone(template.header.xml, record, domain_uuid, devices))
            async with image_feed.feeding(
                self._pipe(record.vm_id), header.to_bytes(), template.file, header.stream_offset
            ) as pipe:
                await self._domains.restore(pipe)
        except (OSError, DoesNotFit, NotOurs) as error:
            raise vm_errors.clone_failed(record.vm_id, str(error)) from error

    async def save(self, vm_id: str, file: Path) -> None:
        """Writes a VM's memory into a file, with which its domain ends."""
        try:
            await self._domains.save(self._domain(vm_id), file)
        except NoSuchDomain as error:
            raise vm_errors.domain_gone(vm_id) from error

    async def hypervisor_version(self) -> str:
        """What the versions of libvirt and QEMU are."""
        return await self._domains.version()

    async def remember(self, record: VmRecord) -> None:
        """Writes what a VM is into its domain."""
        try:
            await self._domains.set_record(self._domain(record.vm_id), record)
        except NoSuchDomain as error:
            raise vm_errors.domain_gone(record.vm_id) from error

    async def attach_code(self, record: VmRecord) -> None:
        """Plugs the code of a VM's tenant into it, read-only."""
        code = _made(self._places.code(record.tenant))
        mounted = await self._shares.mount(record.vm_id, code)
        try:
            await self._domains.attach(self._domain(record.vm_id), domain_xml.share(mounted, shares.CODE))
        except NoSuchDomain as error:
            raise vm_errors.domain_gone(record.vm_id) from error

    async def found(self) -> Mapping[str, VmRecord | None]:
        """The VMs whose domains run, each with what that says of itself; None where that makes no sense."""
        found: dict[str, VmRecord | None] = {}
        for domain in await self._domains.list():
            vm_id = self.vm_of(domain.name)
            record = domain.record
            if vm_id is not None and (record is None or record.host_id == self._host_id):
                found[vm_id] = record if record is not None and record.vm_id == vm_id else None
        return found

    def left(self) -> set[str]:
        """The VMs of which there are files or mounts, running or not."""
        names = [path.name for place in (self._places.channels, self._places.consoles) for path in place.iterdir()]
        return {vm_id for name in (*names, *self._shares.all()) if VM_ID.fullmatch(vm_id := name.partition(".")[0])}

    async def remove(self, vm_id: str) -> Removed:
        """Ends a VM, whatever it does, and removes all there is of it."""
        was_running = await self._domains.destroy(self._domain(vm_id))
        mounts = await self._shares.unmount(vm_id)
        image_feed.discard(self._pipe(vm_id))
        return Removed(int(was_running), mounts, _unlink(self._files(vm_id)))

    async def wait_available(self) -> None:
        """Returns when libvirt is there."""
        await self._domains.wait_available()

    def console_tail(self, vm_id: str) -> str:
        """The last lines that a guest's kernel and agent printed; empty where there are none."""
        try:
            printed = self._places.devices(vm_id).console.read_bytes()[-_CONSOLE_TAIL_BYTES:]
        except OSError:
            return ""
        return "\n".join(printed.decode(errors="replace").splitlines()[-CONSOLE_TAIL_LINES:])

    def _domain(self, vm_id: str) -> str:
        return domain_xml.domain_name(self._host_id, vm_id)

    def _pipe(self, vm_id: str) -> Path:
        return self._places.channels / f"{vm_id}.pipe"

    def _files(self, vm_id: str) -> list[Path]:
        devices = self._places.devices(vm_id)
        # virtlogd begins a new log when one is full, and numbers the older ones.
        return [*devices.sockets.values(), *devices.console.parent.glob(f"{devices.console.name}*")]


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _unlink(files: Collection[Path]) -> int:
    there = [file for file in files if file.exists()]
    for file in there:
        file.unlink(missing_ok=True)
    return len(there)
