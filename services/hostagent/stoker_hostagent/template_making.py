"""Making a template: a VM that nobody gets is booted, prepared, made small, and saved."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.footprints import Footprints
from stoker_hostagent.guest import Guest
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.template_store import Template, TemplateStore
from stoker_hostagent.virtual_machine import VirtualMachine
from stoker_hostagent.vm import GoneReason, Shape, Vm, VmState

log = structlog.get_logger()

MAKE_S = 300.0
"""How long making a template may take, in seconds. 20 s under TCG with nothing else to do."""
REMOVE_S = 20.0


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to a template's guest before it is saved, such as making blank containers."""

    recipe: str
    """What it does, in words that change when it does something else: templates made by another are not used."""
    prepare: Callable[[Guest], Awaitable[None]]
    """Does it; raises `StokerError`."""


async def _do_nothing(_guest: Guest) -> None:
    """A guest as it has booted."""


NO_PREPARATION = Preparation("", _do_nothing)


class TemplateMaker:
    """Makes templates, one at a time."""

    def __init__(
        self,
        host_id: str,
        image: GuestImage,
        accelerator: Accelerator,
        footprints: Footprints,
        store: TemplateStore,
        preparation: Preparation,
        tasks: Background,
    ) -> None:
        """Has made none yet.

        Args:
            host_id: The host agent that the VMs belong to.
            image: What they boot from.
            accelerator: What runs them.
            footprints: What they are made of.
            store: Where templates are kept.
            preparation: What is done to a guest before it is saved.
            tasks: What owns the connection to the guest.
        """
        self._host_id = host_id
        self._image = image
        self._accelerator = accelerator
        self._footprints = footprints
        self._store = store
        self._preparation = preparation
        self._tasks = tasks
        self._turn = asyncio.Lock()
        self._machine: VirtualMachine | None = None

    def owns(self, vm_id: str) -> bool:
        """Whether a VM is the one that is about to become a template."""
        return self._machine is not None and self._machine.id == vm_id

    def domain_stopped(self) -> None:
        """The domain of that VM has ended, as it does when it has been saved, or by itself."""
        if self._machine is not None and self._machine.state is not VmState.ENDING:
            self._machine.end(GoneReason.CRASHED)

    async def make(self, key: str, shape: Shape) -> Template:
        """Makes a template; of the VM nothing is left.

        Raises:
            StokerError: The VM could not be booted, prepared or saved.
            TemplateInvalid: What was saved cannot be used.
            TimeoutError: It took too long.
            OSError: There is no room on the disk.
        """
        async with self._turn, asyncio.timeout(MAKE_S):
            begun_s = time.monotonic()
            file = await asyncio.to_thread(self._store.begin, key)
            record = VmRecord(
                self._host_id,
                f"vm-{secrets.token_hex(6)}",
                shape,
                # A host agent that finds it destroys it.
                VmState.CREATING,
                "",
                self._image.id,
                int(time.time()),
            )
            self._machine = machine = VirtualMachine(record, self._footprints, MAKE_S, _Unheard())
            try:
                await machine.boot(self._image, self._accelerator, lambda: machine.connect(self._tasks, _ignore))
                booted_s = time.monotonic()
                await machine.guest.set_back()
                await self._preparation.prepare(machine.guest)
                prepared_s = time.monotonic()
                await machine.guest.quiesce()
                await machine.disconnect()
                await self._footprints.save(machine.id, file)
                saved_s = time.monotonic()
                template = await asyncio.to_thread(self._store.finish, key, shape)
            finally:
                await asyncio.to_thread(self._store.give_up, key)
                await self._remove(machine)
                self._machine = None
        log.info(
            "template.made",
            template=key,
            vcpus=shape.vcpus,
            memory_mib=shape.memory_mib,
            size_mib=template.size_bytes >> 20,
            boot_s=round(booted_s - begun_s, 2),
            prepare_s=round(prepared_s - booted_s, 2),
            save_s=round(saved_s - prepared_s, 2),
            finish_s=round(time.monotonic() - saved_s, 2),
        )
        return template

    async def _remove(self, machine: VirtualMachine) -> None:
        if machine.state is not VmState.ENDING:
            machine.end(GoneReason.DESTROYED)
        # What is left then is removed by a later host agent.
        with suppress(TimeoutError, StokerError):
            async with asyncio.timeout(REMOVE_S):
                await self._footprints.remove(machine.id)


class _Unheard:
    """Listens to a VM that nobody knows of."""

    def vm_changed(self, vm: Vm) -> None: ...

    def vm_gone(self, vm_id: str, reason: GoneReason) -> None: ...

    def container_exited(self, vm_id: str, container: str, reason: str) -> None: ...

    def lines_printed(
        self, vm_id: str, container: str, invocation_id: str, stream: str, lines: Sequence[str], dropped: int
    ) -> None: ...


def _ignore() -> None:
    """Whoever makes the template notices that its guest is silent."""
