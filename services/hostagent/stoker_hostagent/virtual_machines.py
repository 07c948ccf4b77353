"""The VMs of this host, from their making to their end.

A VM with a tenant never gets another: `VirtualMachine.claim` is the only way to a tenant, and refuses a second.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent import vm_errors
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.footprints import Footprints
from stoker_hostagent.guest import Guest
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.libvirt_connection import DomainEvent
from stoker_hostagent.names import check_name
from stoker_hostagent.removal import REMOVE_S, Removal
from stoker_hostagent.templates import Templates
from stoker_hostagent.virtual_machine import VirtualMachine
from stoker_hostagent.vm import GoneReason, Shape, Vm, VmListener, VmSettings, VmState
from stoker_hostagent.vm_making import VmMaking
from stoker_hostagent.vm_rules import check_shape, check_vm_id, is_adoptable

log = structlog.get_logger()

ASSIGN_S = 60.0
"""How long giving a VM to a tenant may take, in seconds."""


class VirtualMachines:
    """All VMs of this host. Operations on one VM follow each other; those on several VMs run at the same time."""

    def __init__(
        self,
        settings: VmSettings,
        image: GuestImage,
        accelerator: Accelerator,
        footprints: Footprints,
        templates: Templates | None,
        tasks: Background,
    ) -> None:
        """Knows no VM yet; `adopt` finds them. `vm_assembly.py` puts the parts together.

        Args:
            settings: What was configured.
            image: What new VMs boot from.
            accelerator: What runs VMs.
            footprints: What VMs are made of on this host.
            templates: What VMs are cloned from; None to boot them all.
            tasks: What owns their connections and their removal.
        """
        self._settings = settings
        self._image = image
        self._accelerator = accelerator
        self._footprints = footprints
        self._templates = templates
        self._tasks = tasks
        self._making = VmMaking(settings, image, accelerator, templates)
        self._removal = Removal(footprints, tasks, self._is_gone)
        self._listener: VmListener | None = None
        self._machines: dict[str, VirtualMachine] = {}

    @property
    def accelerator(self) -> Accelerator:
        """What runs the VMs, and why."""
        return self._accelerator

    def all(self) -> Sequence[Vm]:
        """All VMs at this moment."""
        return [machine.now() for machine in self._machines.values()]

    def guest(self, vm_id: str) -> Guest:
        """The guest agent of a VM.

        Raises:
            StokerError: VM_NOT_FOUND.
        """
        return self._find(vm_id).guest

    async def template_ready(self, shape: Shape) -> None:
        """Returns when VMs of a shape are cloned; never where they are not to be, or no template can be made."""
        if self._templates is None:
            await asyncio.Event().wait()
        else:
            await self._templates.wait_ready(shape)

    async def adopt(self, listener: VmListener) -> Sequence[Vm]:
        """Takes over the VMs that an earlier host agent of this host left, and destroys those that are of no use.

        Call it once, before anything else. Its result is what `listener` is not told; from then on it is told all.

        Raises:
            StokerError: HYPERVISOR_UNAVAILABLE, HYPERVISOR_FAILED, HYPERVISOR_BUSY.
        """
        found = await self._footprints.found()
        self._listener = listener
        async with asyncio.TaskGroup() as group:
            for vm_id, record in found.items():
                group.create_task(self._adopt_or_remove(vm_id, record))
        for vm_id in self._footprints.left() - found.keys():
            self._removal.remove_stray(vm_id)
        if self._templates is not None:
            await self._templates.open(self._settings.template_shapes)
        return self.all()

    async def create(self, vm_id: str, shape: Shape) -> Vm:
        """Makes a VM without a tenant and returns it when its guest has answered. One that is there already will do.

        Raises:
            StokerError: VM_ID_INVALID, SHAPE_INVALID, VM_EXISTS (of another shape), VM_NOT_READY (another caller's
                making of it takes too long), VM_ENDING, VM_CREATE_FAILED (nothing is left of it then).
        """
        check_vm_id(vm_id)
        check_shape(shape)
        if (machine := self._machines.get(vm_id)) is not None:
            if machine.record.shape != shape:
                raise vm_errors.vm_exists(vm_id, machine.record.shape)
            async with self._turn(machine, self._settings.create_timeout_s):
                return machine.now()
        created_unix_s = int(time.time())
        machine = self._know(
            VmRecord(self._settings.host_id, vm_id, shape, VmState.CREATING, "", self._image.id, created_unix_s)
        )
        machine.announce()
        await self._make(machine)
        return machine.now()

    async def assign(self, vm_id: str, tenant: str) -> Vm:
        """Gives a VM to a tenant, for good, with the tenant's code as share `code`. One already the tenant's will do.

        Raises:
            StokerError: INVALID_FIELD, VM_NOT_FOUND, VM_NOT_READY, VM_ENDING, VM_TAKEN (it is another tenant's),
                VM_ASSIGN_FAILED (it is destroyed then).
        """
        check_name("tenant", tenant)
        machine = self._find(vm_id)
        if machine.state is VmState.CREATING:
            raise vm_errors.vm_not_ready(vm_id)
        async with self._turn(machine, ASSIGN_S):
            machine.claim(tenant)
            if machine.state is VmState.ASSIGNING:
                await self._bring_code(machine)
            return machine.now()

    async def destroy(self, vm_id: str) -> None:
        """Destroys a VM and removes all it left, also in the middle of its making. An unknown VM is no error.

        Raises:
            StokerError: HYPERVISOR_UNAVAILABLE; the VM is ENDING then, and is destroyed when libvirt is back.
        """
        if (machine := self._machines.get(vm_id)) is None:
            return
        await self._removal.finish(machine, GoneReason.DESTROYED)
        if self._machines.get(vm_id) is machine:
            raise vm_errors.hypervisor_unavailable(f"VM `{vm_id}` could not be destroyed yet")

    def domain_changed(self, event: DomainEvent) -> None:
        """A domain of this hypervisor has started or stopped."""
        vm_id = self._footprints.vm_of(event.name)
        if vm_id is None or self._listener is None:
            return
        if self._templates is not None and self._templates.maker.owns(vm_id):
            if not event.is_running:
                self._templates.maker.domain_stopped()
            return
        machine = self._machines.get(vm_id)
        is_wanted = machine is not None and machine.state is not VmState.ENDING
        if event.is_running and not is_wanted:
            # An order to start it was given up, and carried out all the same.
            self._removal.remove_stray(vm_id)
        elif machine is not None and is_wanted and not event.is_running and machine.domain_stopped(event.uuid):
            self._removal.begin(machine, GoneReason.CRASHED)

    def hypervisor_returned(self) -> None:
        """libvirt was away and is back: events may have been missed."""
        self._tasks.start(self._reconcile(), "compare VMs with domains")

    async def _adopt_or_remove(self, vm_id: str, record: VmRecord | None) -> None:
        if record is None or not is_adoptable(record, self._image.id):
            log.info("vm.not_adopted", vm=vm_id, state=record.state.value if record else "unknown")
            await asyncio.wait([self._removal.remove_stray(vm_id)], timeout=REMOVE_S)
            return
        machine = self._know(record)
        self._connect(machine)
        try:
            async with asyncio.timeout(self._settings.adopt_timeout_s):
                await machine.reach()
        except (TimeoutError, StokerError):
            log.warning("vm.silent", vm=machine.id, tenant=record.tenant)
            await self._removal.finish(machine, GoneReason.UNREACHABLE)
        else:
            log.info("vm.adopted", vm=machine.id, state=record.state.value, tenant=record.tenant)

    async def _make(self, machine: VirtualMachine) -> None:
        limit_s = self._settings.create_timeout_s
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(limit_s), machine.turn:
                await self._making.make(machine, lambda: self._connect(machine))
                await machine.be_warming()
        except TimeoutError:
            why = f"its guest did not answer within {limit_s:g} s"
        except StokerError as error:
            why = error.message
        except asyncio.CancelledError:
            self._removal.begin(machine, GoneReason.CRASHED)
            raise
        else:
            duration_s = round(time.monotonic() - begun_s, 2)
            log.info("vm.created", vm=machine.id, is_clone=machine.record.is_clone, duration_s=duration_s)
            return
        console = self._footprints.console_tail(machine.id)
        if machine.gone_reason is GoneReason.CRASHED:
            why = "it ended by itself"
        await self._removal.finish(machine, GoneReason.CRASHED)
        if machine.gone_reason is GoneReason.DESTROYED:
            raise vm_errors.vm_ending(machine.id)
        log.error("vm.create_failed", vm=machine.id, why=why, console=console)
        raise vm_errors.vm_create_failed(machine.id, why, console)

    async def _bring_code(self, machine: VirtualMachine) -> None:
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(ASSIGN_S):
                await machine.bring_code()
        except (TimeoutError, StokerError) as error:
            why = error.message if isinstance(error, StokerError) else f"it took longer than {ASSIGN_S:g} s"
            log.error("vm.assign_failed", vm=machine.id, tenant=machine.record.tenant, why=why)
            self._removal.begin(machine, GoneReason.CRASHED)
            raise vm_errors.vm_assign_failed(machine.id, why) from error
        except asyncio.CancelledError:
            self._removal.begin(machine, GoneReason.CRASHED)
            raise
        else:
            duration_s = round(time.monotonic() - begun_s, 2)
            log.info("vm.assigned", vm=machine.id, tenant=machine.record.tenant, duration_s=duration_s)

    @asynccontextmanager
    async def _turn(self, machine: VirtualMachine, limit_s: float) -> AsyncGenerator[None]:
        """Waits until no other operation is at work on a VM, and keeps others away."""
        try:
            async with asyncio.timeout(limit_s):
                await machine.turn.acquire()
        except TimeoutError as error:
            raise vm_errors.vm_not_ready(machine.id) from error
        try:
            machine.check_alive()
            yield
        finally:
            machine.turn.release()

    def _know(self, record: VmRecord) -> VirtualMachine:
        if self._listener is None:
            raise RuntimeError("adopt() comes before any other call")
        machine = VirtualMachine(record, self._footprints, self._settings.unreachable_s, self._listener)
        self._machines[machine.id] = machine
        return machine

    def _find(self, vm_id: str) -> VirtualMachine:
        if (machine := self._machines.get(vm_id)) is None:
            raise vm_errors.vm_not_found(vm_id)
        return machine

    def _connect(self, machine: VirtualMachine) -> None:
        def lost() -> None:
            self._removal.begin(machine, GoneReason.UNREACHABLE)

        machine.connect(self._tasks, lost)

    def _is_gone(self, machine: VirtualMachine, reason: GoneReason) -> None:
        if self._listener is not None:
            del self._machines[machine.id]
            self._listener.vm_gone(machine.id, reason)

    async def _reconcile(self) -> None:
        # One that is being made is not compared: whoever makes it notices by itself.
        settled = [each for each in self._machines.values() if each.state not in (VmState.CREATING, VmState.ENDING)]
        try:
            found = await self._footprints.found()
        except StokerError as error:
            log.warning("vms.not_compared", reason=error.reason, message=error.message)
            return  # libvirt is away again; when it is back this is done again
        for machine in settled:
            if machine.id not in found:
                self._removal.begin(machine, GoneReason.CRASHED)
        for vm_id in found.keys() - self._machines.keys():
            self._removal.remove_stray(vm_id)
