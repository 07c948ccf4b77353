"""All four services in one process, real but for the virtual machines, which are of memory."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import stoker.aio
from stoker_codestore.codestore import running_codestore
from stoker_codestore.config import CodestoreSettings
from stoker_frontend import api_keys
from stoker_frontend.config import FrontendSettings
from stoker_frontend.frontend import running_frontend
from stoker_hostagent.config import HostAgentSettings
from stoker_hostagent.guest_messages import Code, Failure, GuestSpan, Loaded
from stoker_hostagent.hostagent import serving
from stoker_hostagent.vm import Shape, Vm
from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.scheduler import running_scheduler

from tests.hostagent.memory_machines import MemoryGuest, MemoryMachines

LOADS_IN_S = 0.05
"""How long a guest takes to load code, in seconds."""
BROKEN = "broken"
"""Code that has this in its file does not load."""


class CodeGuest(MemoryGuest):
    """A guest that reads the code that it loads, from where the host agent has put it."""

    def __init__(self, code_dir: Path) -> None:
        super().__init__()
        self._code_dir = code_dir

    async def load_code(self, container: str, code: Code) -> Loaded:
        await asyncio.sleep(LOADS_IN_S)
        file = self._code_dir / code.identity.tenant / code.path / "main.py"
        if BROKEN in await asyncio.to_thread(file.read_text):
            self.containers.pop(container)
            failure = Failure(6, "SyntaxError", "it is broken", ())
            return Loaded(failure, (GuestSpan("import", 1_000, 2_000, "0123456789abcdef"),))
        return await super().load_code(container, code)


class CodeMachines(MemoryMachines):
    """The VMs of one host, whose guests read code."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__()
        self._code_dir = state_dir / "code"
        self.next_guest = CodeGuest(self._code_dir)

    async def create(self, vm_id: str, shape: Shape) -> Vm:
        vm = await super().create(vm_id, shape)
        self.next_guest = CodeGuest(self._code_dir)
        return vm


@dataclass(frozen=True, slots=True)
class Whole:
    """What runs."""

    client: stoker.aio.Client
    machines: CodeMachines


def free_address() -> str:
    """An address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def running_whole(directory: Path) -> AsyncGenerator[Whole]:
    """Runs everything in a directory, with a tenant `ann`."""
    admin_key = api_keys.generate().text
    (directory / "admin.key").write_text(admin_key)
    async with AsyncExitStack() as stack:
        codestore = await stack.enter_async_context(
            running_codestore(
                CodestoreSettings.model_validate(
                    {
                        "listen_address": "127.0.0.1:0",
                        "database_url": f"sqlite+aiosqlite:///{directory}/codestore.db",
                        "artifacts_url": f"file://{directory}/artifacts",
                        "uploads_dir": directory / "uploads",
                        "drain_s": 0,
                    }
                )
            )
        )
        scheduler = await stack.enter_async_context(
            running_scheduler(
                SchedulerSettings.model_validate(
                    {
                        "listen_address": "127.0.0.1:0",
                        "codestore_address": codestore.address,
                        "recovery_s": 0,
                        "warming_vms": 0,
                        "warming_vms_most": 0,
                        "upkeep_interval_s": 0.05,
                        "drain_s": 0,
                    }
                )
            )
        )
        state_dir = directory / "hostagent"
        machines = CodeMachines(state_dir)
        await stack.enter_async_context(
            serving(
                HostAgentSettings.model_validate(
                    {
                        "host": "host-1",
                        "listen_address": free_address(),
                        "scheduler_address": scheduler.address,
                        "codestore_address": codestore.address,
                        "state_dir": state_dir,
                        "drain_s": 0,
                    }
                ),
                machines,
            )
        )
        frontend = await stack.enter_async_context(
            running_frontend(
                FrontendSettings.model_validate(
                    {
                        "listen_address": "127.0.0.1:0",
                        "codestore_address": codestore.address,
                        "scheduler_address": scheduler.address,
                        "database_url": f"sqlite+aiosqlite:///{directory}/frontend.db",
                        "admin_key_file": directory / "admin.key",
                        "drain_s": 0,
                    }
                )
            )
        )
        async with stoker.aio.Client(frontend.address, admin_key=admin_key) as operator:
            api_key = (await operator.create_tenant("ann")).api_key
        client = await stack.enter_async_context(
            stoker.aio.Client(frontend.address, api_key=api_key, admin_key=admin_key)
        )
        yield Whole(client, machines)
