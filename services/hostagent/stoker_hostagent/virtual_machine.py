"""One VM: what is known of it, the way to its guest, and the steps of its life."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace

from stoker_protos.guest.v1 import guest_pb2
from stoker_service.background import Background

from stoker_hostagent import shares, vm_errors
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.footprints import Footprints
from stoker_hostagent.guest import Guest
from stoker_hostagent.guest_channel import GuestChannel
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.guest_ports import GuestPorts
from stoker_hostagent.template_store import Template
from stoker_hostagent.vm import GoneReason, Vm, VmListener, VmState
from stoker_hostagent.vm_domain import Ended, VmDomain


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
        self._unreachable_s = unreachable_s
        self._listener = listener
        self._channel = self._new_channel()
        self._connecting: asyncio.Task[None] | None = None
        self._container_memory_mib = 0
        self._domain = VmDomain()
        self.guest = self._new_guest()

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
        return Vm(record.vm_id, record.shape, record.state, record.tenant, self._container_memory_mib, record.is_clone)

    def announce(self) -> None:
        """Tells what it is now."""
        self._listener.vm_changed(self.now())

    def connect(self, tasks: Background, lost: Callable[[], None]) -> None:
        """Begins to keep a connection to its guest; `lost` is called when the guest has been silent for too long."""

        async def keep() -> None:
            try:
                await self._channel.run()
            finally:
                # QEMU hears one at a time at each port, and a host agent that comes later wants to be it.
                self.guest.close()
            lost()

        self._connecting = tasks.start(keep(), f"connection to {self.id}")

    async def disconnect(self) -> None:
        """Ends the way to its guest, for good."""
        self._channel.close()
        self.guest.close()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])

    async def boot(self, image: GuestImage, accelerator: Accelerator, connect: Callable[[], None]) -> None:
        """Starts it, waits until its guest answers (for ever), and gives the guest its identity.

        Raises:
            StokerError: What went wrong.
        """
        domain_uuid = self._begin(is_clone=False)
        await self._footprints.start(self.record, domain_uuid, image, accelerator)
        await self._wake(domain_uuid, connect)

    async def clone(self, template: Template, connect: Callable[[], None]) -> None:
        """Lets it go on from a template, and gives its guest an identity of its own. If that fails, `start_over`.

        Raises:
            StokerError: What went wrong; the template may be broken.
        """
        domain_uuid = self._begin(is_clone=True)
        await self._footprints.clone(self.record, domain_uuid, template)
        await self._wake(domain_uuid, connect)
        self._domain.accept()

    async def start_over(self) -> None:
        """Removes all there is of a VM that was not made, so that it can be made in another way.

        Raises:
            StokerError: What went wrong.
        """
        self._domain.give_up()
        await self.disconnect()
        await self._footprints.remove(self.id)
        self._channel = self._new_channel()
        self.guest = self._new_guest()

    def domain_stopped(self, domain_uuid: str) -> bool:
        """Takes note that a domain of its name has ended; returns whether it has ended with it.

        It has not, where that was an earlier domain, or a clone on trial: whoever tries that gives it up then.
        """
        ended = self._domain.ended(domain_uuid)
        if ended is Ended.ATTEMPT:
            self._channel.close()
        return ended is Ended.VM

    async def be_warming(self) -> None:
        """Makes it one that waits for a tenant.

        Raises:
            StokerError: What went wrong.
        """
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
        # The guest's kernel finds the device some time after libvirt has plugged it in; its agent waits for that.
        await self.guest.mount_share(shares.CODE)
        await self._move_to(replace(self.record, state=VmState.ACTIVE))

    def end(self, reason: GoneReason) -> None:
        """Ends its way to the guest, so that whoever waits for that gives up."""
        self.gone_reason = reason
        self.record = replace(self.record, state=VmState.ENDING)
        self._channel.close()
        self.guest.close()
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

    def _begin(self, *, is_clone: bool) -> uuid.UUID:
        self.record = replace(self.record, is_clone=is_clone)
        return self._domain.begin(is_on_trial=is_clone)

    async def _wake(self, domain_uuid: uuid.UUID, connect: Callable[[], None]) -> None:
        self.check_alive()
        connect()
        await self.reach()
        await self.guest.configure(self.id, domain_uuid.hex)

    def _new_channel(self) -> GuestChannel:
        return GuestChannel(self.id, self._footprints.socket(self.id), self._unreachable_s, self._heard)

    def _new_guest(self) -> Guest:
        return Guest(self._channel, GuestPorts(self._footprints.container_ports(self.id)))

    async def _move_to(self, record: VmRecord) -> None:
        await self._footprints.remember(record)
        self.check_alive()
        self.record = record
        self.announce()

    def _heard(self, event: guest_pb2.WatchResponse) -> None:
        match event.WhichOneof("event"):
            case "exited":
                if self.guest.container_exited(event.exited.container):
                    return
                self._listener.container_exited(self.id, event.exited.container, event.exited.reason)
            case "lines":
                told = event.lines
                self._listener.lines_printed(
                    self.id, told.container, told.invocation_id, told.stream, list(told.lines), told.dropped
                )
            case None:
                # A guest agent of a later image may know more events.
                return
