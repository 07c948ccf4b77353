"""VMs of memory alone, as the host agent's other parts see VMs. They outlive the agent, as real ones do."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.guest_messages import (
    Code,
    Failure,
    GuestContainer,
    GuestFacts,
    GuestSpan,
    Invocation,
    InvokeResult,
    Loaded,
)
from stoker_hostagent.vm import GoneReason, Shape, Vm, VmListener, VmState
from stoker_service.errors import ErrorKind, StokerError

LOAD_FAILURE = Failure(6, "ImportError", "no module named missing", ())
TIMEOUT_FAILURE = Failure(2, "Timeout", "the handler overran its time", ())


@dataclass(slots=True)
class MemoryContainer:
    """What a guest knows of a container."""

    runtime: str = "python3"
    memory_mib: int = 128
    tmp_mib: int = 64
    code: Code | None = None
    invocations: list[Invocation] = field(default_factory=list[Invocation])


class MemoryGuest:
    """A guest whose handlers are known by name.

    `main.echo` returns its event, `main.wait` never ends by itself, `main.exit` ends its container, `main.missing`
    cannot be loaded.
    """

    def __init__(self) -> None:
        self.containers: dict[str, MemoryContainer] = {}
        self.is_reachable = True
        self.has_begun = asyncio.Event()
        self.has_changed = asyncio.Condition()
        self.is_creating = asyncio.Event()
        self.may_create = asyncio.Event()
        self.may_create.set()

    async def wait_answer(self) -> GuestFacts:
        self._check()
        return GuestFacts("image", "boot", 300, ("nodejs", "python3"))

    async def create_container(
        self, container: str, runtime: str, memory_mib: int, tmp_mib: int, *, is_in_background: bool = False
    ) -> None:
        self._check()
        self.is_creating.set()
        await self.may_create.wait()
        self.is_creating.clear()
        self.containers[container] = MemoryContainer(runtime, memory_mib, tmp_mib)
        await self._tell()

    async def load_code(self, container: str, code: Code) -> Loaded:
        self._check()
        loaded = self.containers.pop(container)
        if code.handler == "main.missing":
            return Loaded(LOAD_FAILURE)
        loaded.code = code
        loaded.memory_mib, loaded.tmp_mib = code.memory_mib or loaded.memory_mib, code.tmp_mib or loaded.tmp_mib
        self.containers[code.name or container] = loaded
        return Loaded(None, (GuestSpan("import", 1_000, 2_000, "0123456789abcdef"),))

    async def invoke(self, invocation: Invocation) -> InvokeResult:
        self._check()
        self.containers[invocation.container].invocations.append(invocation)
        self.has_begun.set()
        code = self.containers[invocation.container].code
        assert code is not None
        match code.handler:
            case "main.wait":
                try:
                    async with asyncio.timeout(invocation.timeout_ms / 1000):
                        await asyncio.Event().wait()
                except TimeoutError:
                    is_lost = code.concurrency == 1
                    return InvokeResult(b"", "", TIMEOUT_FAILURE, 0, b"", is_container_lost=is_lost, spans=())
            case "main.exit":
                failure = Failure(3, "Exit", "the process ended with status 1", ())
                return InvokeResult(b"", "", failure, 0, b"", is_container_lost=True, spans=())
            case _:
                pass
        spans = (GuestSpan("handler", 1_000, 2_000, "0123456789abcdef"),)
        return InvokeResult(invocation.payload, invocation.content_type, None, 1_500_000, b"said", False, spans)

    async def destroy_container(self, container: str) -> None:
        self._check()
        self.containers.pop(container, None)
        await self._tell()

    async def list_containers(self) -> Sequence[GuestContainer]:
        self._check()
        return [
            GuestContainer(id, one.code is not None, one.code.label if one.code else b"", one.runtime)
            for id, one in self.containers.items()
        ]

    async def wait_until_gone(self, container: str) -> None:
        """Waits until the container has been destroyed."""
        async with asyncio.timeout(5), self.has_changed:
            await self.has_changed.wait_for(lambda: container not in self.containers)

    async def wait_for_blanks(self, *runtimes: str) -> list[str]:
        """Waits until there are blank containers of just these runtimes; returns their ids."""

        def found() -> list[str]:
            return [id for id, one in self.containers.items() if one.code is None]

        async with asyncio.timeout(5), self.has_changed:
            await self.has_changed.wait_for(
                lambda: sorted(self.containers[id].runtime for id in found()) == sorted(runtimes)
            )
        return found()

    async def _tell(self) -> None:
        async with self.has_changed:
            self.has_changed.notify_all()

    def _check(self) -> None:
        if not self.is_reachable:
            raise StokerError(ErrorKind.UNAVAILABLE, "GUEST_UNREACHABLE", "the guest does not answer")


class MemoryMachines:
    """The VMs of one host."""

    accelerator = Accelerator("qemu", "these machines are made of memory")

    def __init__(self) -> None:
        self.vms: dict[str, Vm] = {}
        self.guests: dict[str, MemoryGuest] = {}
        self.next_guest = MemoryGuest()
        self.listener: VmListener | None = None
        self.may_create = asyncio.Event()
        self.may_create.set()
        self.may_assign = asyncio.Event()
        self.may_assign.set()

    def all(self) -> Sequence[Vm]:
        return list(self.vms.values())

    def guest(self, vm_id: str) -> MemoryGuest:
        if vm_id not in self.guests:
            raise StokerError(ErrorKind.NOT_FOUND, "VM_NOT_FOUND", f"there is no VM {vm_id}")
        return self.guests[vm_id]

    async def adopt(self, listener: VmListener) -> Sequence[Vm]:
        self.listener = listener
        return self.all()

    async def create(self, vm_id: str, shape: Shape) -> Vm:
        if vm_id not in self.vms:
            self._put(Vm(vm_id, shape, VmState.CREATING, "", 0))
            await self.may_create.wait()
            self.guests[vm_id], self.next_guest = self.next_guest, MemoryGuest()
            self._put(Vm(vm_id, shape, VmState.WARMING, "", 300))
        return self.vms[vm_id]

    async def assign(self, vm_id: str, tenant: str) -> Vm:
        if vm_id not in self.vms:
            raise StokerError(ErrorKind.NOT_FOUND, "VM_NOT_FOUND", f"there is no VM {vm_id}")
        await self.may_assign.wait()
        self._put(replace(self.vms[vm_id], state=VmState.ACTIVE, tenant=tenant))
        return self.vms[vm_id]

    async def destroy(self, vm_id: str) -> None:
        if self.vms.pop(vm_id, None):
            self.guests.pop(vm_id, None)
            assert self.listener is not None
            self.listener.vm_gone(vm_id, GoneReason.DESTROYED)

    def _put(self, vm: Vm) -> None:
        self.vms[vm.id] = vm
        if self.listener is not None:
            self.listener.vm_changed(vm)
