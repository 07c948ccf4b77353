"""How a VM comes to be: as a clone where there is a template, and booted the long way where there is none."""

import asyncio
from collections.abc import Callable

import structlog
from stoker_service.errors import StokerError

from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.template_store import Template
from stoker_hostagent.templates import Templates
from stoker_hostagent.virtual_machine import VirtualMachine
from stoker_hostagent.vm import VmSettings

log = structlog.get_logger()

NOT_THE_TEMPLATES_FAULT = ("HYPERVISOR_UNAVAILABLE", "HYPERVISOR_BUSY", "VM_ENDING")


class VmMaking:
    """Makes VMs, a few at a time. Clones do not wait for those that boot."""

    def __init__(
        self, settings: VmSettings, image: GuestImage, accelerator: Accelerator, templates: Templates | None
    ) -> None:
        """Makes nothing yet.

        Args:
            settings: What was configured.
            image: What VMs boot from.
            accelerator: What runs them.
            templates: What they are cloned from; None to boot them all.
        """
        self._image = image
        self._accelerator = accelerator
        self._templates = templates
        self._clone_timeout_s = settings.clone_timeout_s
        self._may_boot = asyncio.Semaphore(settings.max_creating)
        self._may_clone = asyncio.Semaphore(settings.max_creating)

    async def make(self, machine: VirtualMachine, connect: Callable[[], None]) -> None:
        """Makes a VM whose guest has answered and has its identity. The caller sets the limit.

        Raises:
            StokerError: What went wrong.
        """
        if not await self._make_clone(machine, connect):
            async with self._may_boot:
                # A template may have come while others were booted.
                if not await self._make_clone(machine, connect):
                    await machine.boot(self._image, self._accelerator, connect)

    async def _make_clone(self, machine: VirtualMachine, connect: Callable[[], None]) -> bool:
        if self._templates is None or await self._templates.find(machine.record.shape) is None:
            return False
        async with self._may_clone:
            # It may have been found broken meanwhile.
            template = await self._templates.find(machine.record.shape)
            return template is not None and await self._try_clone(machine, template, self._templates, connect)

    async def _try_clone(
        self, machine: VirtualMachine, template: Template, templates: Templates, connect: Callable[[], None]
    ) -> bool:
        try:
            async with asyncio.timeout(self._clone_timeout_s):
                await machine.clone(template, connect)
        except (TimeoutError, StokerError) as error:
            machine.check_alive()
            if isinstance(error, StokerError) and error.reason in NOT_THE_TEMPLATES_FAULT:
                raise
            why = error.message if isinstance(error, StokerError) else f"no answer within {self._clone_timeout_s:g} s"
            templates.discard(template, why)
            log.warning("vm.clone_failed", vm=machine.id, template=template.key, why=why)
            await machine.start_over()
            return False
        templates.used(template)
        return True
