"""One VM: what is known of it, the way to its guest, and the steps of its life."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from stoker_protos.guest.v1 import guest_pb2
from stoker_service.background import Background
from stoker_service.errors import ErrorKind, StokerError

from stoker_hostagent import shares, vm_errors
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.footprints import Footprints
from stoker_hostagent.guest import Guest
from stoker_hostagent.guest_channel import GuestChannel
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.vm import GoneReason, Vm, VmListener, VmState

APPEAR_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""How long to wait before each further look for a share, in seconds. The guest's kernel finds a device that was plugged
in some time after libvirt has done so, and tells nobody on the host."""


class VirtualMachine:
    """One VM while the host agent knows it. Who takes a step holds its `turn`."""

    def __init__(self, record: VmRecord, footprints: Footprints, unreachable_s: float, listener: VmListener) -> None:
        """Knows a VM; nothing is done to it.

        Args:
            record: What is kept of it with its domain.
            footprints: What VMs are made of on this host.
            unreachable_s: How long its guest may be silent, in seconds.
            listener: Told when it changes, and what its guest reports.
        """
        self.record = record
        self.turn = asyncio.Lock()
        self.gone_reason: GoneReason | None = None
        """Why it is being destroyed; None while it is not."""
        self.removing: asyncio.Task[None] | None = None
        """Removes all there is of it."""
        self._footprints = footprints
        self._listener = listener
        self._channel = GuestChannel(record.vm_id, footprints.socket(record.vm_id), unreachable_s, self._heard)
        self._connecting: asyncio.Task[None] | None = None
        self._container_memory_mib = 0
        self.guest = Guest(self._channel)

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.vm_id

    @property
    def state(self) -> VmState:
        """Where it is in its life."""
        return self.record.state

    def now(self) -> Vm:
        """What it is at this moment."""
        record = self.record
        return Vm(record.vm_id, record.shape, record.state, record.tenant, self._container_memory_mib)

    def announce(self) -> None:
        """Tells what it is now."""
        self._listener.vm_changed(self.now())

    def connect(self, tasks: Background, lost: Callable[[], None]) -> None:
        """Begins to keep a connection to its guest; `lost` is called when the guest has been silent for too long."""

        async def keep() -> None:
            await self._channel.run()
            lost()

        self._connecting = tasks.start(keep(), f"connection to {self.id}")

    async def boot(self, image: GuestImage, accelerator: Accelerator, connect: Callable[[], None]) -> None:
        """Starts it, waits until its guest answers (for ever), and gives the guest its identity.

        Raises:
            StokerError: What went wrong.
        """
        await self._footprints.start(self.record, image, accelerator)
        self.check_alive()
        connect()
        await self.reach()
        await self.guest.configure(self.id)
        await self._move_to(replace(self.record, state=VmState.WARMING))

    async def reach(self) -> None:
        """Waits until its guest answers, for ever.

        Raises:
            StokerError: GUEST_UNREACHABLE; the VM has ended.
        """
        facts = await self.guest.wait_answer()
        self._container_memory_mib = facts.container_memory_mib

    def claim(self, tenant: str) -> None:
        """Makes it a tenant's, for good. The only way to a tenant.

        Raises:
            StokerError: VM_TAKEN; it is another's.
        """
        if self.record.tenant not in ("", tenant):
            raise vm_errors.vm_taken(self.id)
        if not self.record.tenant:
            self.record = replace(self.record, tenant=tenant, state=VmState.ASSIGNING)

    async def bring_code(self) -> None:
        """Brings the code of its tenant into it, after its domain says whose it is. If that fails it is of no use.

        Raises:
            StokerError: What went wrong.
        """
        await self._move_to(self.record)
        await self._footprints.attach_code(self.record)
        await self._mount_code()
        await self._move_to(replace(self.record, state=VmState.ACTIVE))

    def end(self, reason: GoneReason) -> None:
        """Ends its way to the guest, so that whoever waits for that gives up."""
        self.gone_reason = reason
        self.record = replace(self.record, state=VmState.ENDING)
        self._channel.close()
        if self._connecting is not None:
            self._connecting.cancel()
        self.announce()

    def check_alive(self) -> None:
        """Raises an error where it is being destroyed.

        Raises:
            StokerError: VM_ENDING.
        """
        if self.state is VmState.ENDING:
            raise vm_errors.vm_ending(self.id)

    async def _mount_code(self) -> None:
        for pause_s in (*APPEAR_S, None):
            try:
                return await self.guest.mount_share(shares.CODE)
            except StokerError as error:
                if error.kind is not ErrorKind.NOT_FOUND or pause_s is None:
                    raise
            await asyncio.sleep(pause_s)
        return None

    async def _move_to(self, record: VmRecord) -> None:
        await self._footprints.remember(record)
        self.check_alive()
        self.record = record
        self.announce()

    def _heard(self, event: guest_pb2.WatchResponse) -> None:
        match event.WhichOneof("event"):
            case "exited":
                self._listener.container_exited(self.id, event.exited.container, event.exited.reason)
            case "lines":
                told = event.lines
                self._listener.lines_printed(
                    self.id, told.container, told.invocation_id, told.stream, list(told.lines), told.dropped
                )
            case None:
                # A guest agent of a later image may know more events.
                return
