"""A host of a test's own for virtual machines, without the rest of Stoker."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from stoker_hostagent import cleanup
from stoker_hostagent.template_making import NO_PREPARATION, Preparation
from stoker_hostagent.virtual_machines import VirtualMachines
from stoker_hostagent.vm import GoneReason, Vm, VmSettings, VmState
from stoker_hostagent.vm_assembly import running_virtual_machines

from tests.system.images import guest_image


class Events:
    """Remembers what is told of VMs, and lets a test wait for it."""

    def __init__(self) -> None:
        self.states: list[tuple[str, VmState, str]] = []
        self.gone: asyncio.Queue[tuple[str, GoneReason]] = asyncio.Queue()

    def vm_changed(self, vm: Vm) -> None:
        self.states.append((vm.id, vm.state, vm.tenant))

    def vm_gone(self, vm_id: str, reason: GoneReason) -> None:
        self.gone.put_nowait((vm_id, reason))

    def container_exited(self, vm_id: str, container: str, reason: str) -> None:
        raise AssertionError(f"{container} in {vm_id} ended: {reason}")

    def lines_printed(
        self, vm_id: str, container: str, invocation_id: str, stream: str, lines: Sequence[str], dropped: int
    ) -> None:
        raise AssertionError(f"{container} in {vm_id} printed {lines}")


@contextmanager
def own_host() -> Generator[VmSettings]:
    """The settings of a host of which nothing is left. It has no templates, unless they are changed."""
    # Below pytest's own directories QEMU's user could not reach the sockets, whose paths must also be short.
    state_dir = Path(tempfile.mkdtemp(prefix="stoker-vm-"))
    image = guest_image()
    made = VmSettings(f"test-{os.getpid()}", state_dir, image.parent, image.name, create_timeout_s=100, templates_mib=0)
    yield made
    asyncio.run(cleanup.run(made))
    shutil.rmtree(state_dir)


@asynccontextmanager
async def machines_of(
    settings: VmSettings, events: Events | None = None, preparation: Preparation = NO_PREPARATION
) -> AsyncGenerator[VirtualMachines]:
    """The virtual machines of a host."""
    async with running_virtual_machines(settings, preparation) as machines:
        await machines.adopt(events or Events())
        yield machines
