"""A host agent that speaks the real protocol and keeps VMs and containers in memory, as a script tells it to."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import grpc.aio
from google.protobuf.message import Message
from stoker_protos.scheduler.v1 import hosts_pb2, hosts_pb2_grpc
from stoker_protos.v1 import invocations_pb2, versions_pb2

from tests.scheduler.values import RESERVE_MIB

Found = TypeVar("Found")

WAIT_S = 5.0
"""How long a test waits for what must come, in seconds."""


class ScriptedHost:
    """One host. What it has outlives its connections, as a real host's VMs do."""

    def __init__(self, host: str = "h1", memory_mib: int = 4096) -> None:
        self.host = host
        self.memory_mib = memory_mib
        self.vms: dict[str, hosts_pb2.VmStatus] = {}
        self.containers: dict[str, hosts_pb2.ContainerStatus] = {}
        self.commands: list[hosts_pb2.ConnectResponse] = []
        """All that was commanded, in order."""
        self.failures: defaultdict[str, deque[str]] = defaultdict(deque)
        """By kind of command, the reasons with which the next ones fail; an empty one is never answered."""
        self.blanks: dict[int, int] = {}
        """The blank containers that a VM has, by runtime; each new VM is a clone of a template that had them."""
        self.load_errors: deque[invocations_pb2.FunctionError] = deque()
        """How loading the code fails, for the next containers."""
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(_open_gate)
        """By kind of command: carried out only while it is set."""
        self.closed = asyncio.Event()
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._stream: grpc.aio.StreamStreamCall[hosts_pb2.ConnectRequest, hosts_pb2.ConnectResponse] | None = None

    def count(self, kind: str) -> int:
        """How often a kind of command came."""
        return sum(command.WhichOneof("command") == kind for command in self.commands)

    async def until(self, find: Callable[[], Found]) -> Found:
        """Waits until `find` finds something, asking after every command and every one carried out."""
        async with asyncio.timeout(WAIT_S), self._changed:
            while not (found := find()):
                await self._changed.wait()
            return found

    @asynccontextmanager
    async def connected(self, channel: grpc.aio.Channel) -> AsyncGenerator["ScriptedHost"]:
        """Keeps a stream open, from its snapshot on."""
        stream = self._stream = hosts_pb2_grpc.HostServiceStub(channel).Connect()
        await self.report(snapshot=self.snapshot())
        async with asyncio.TaskGroup() as group:
            obeying = group.create_task(self._obey(stream, group))
            try:
                yield self
            finally:
                stream.cancel()
                obeying.cancel()

    def snapshot(self) -> hosts_pb2.HostSnapshot:
        return hosts_pb2.HostSnapshot(
            host=self.host,
            address=f"{self.host}:7403",
            memory_mib=self.memory_mib,
            vcpus=2,
            accelerator="qemu",
            accelerator_reason="this is a test",
            vms=self.vms.values(),
            containers=self.containers.values(),
        )

    async def report(self, **report: Message) -> None:
        """Reports something; where the stream has ended, the next snapshot tells it."""
        assert self._stream is not None
        async with self._writing:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._stream.write(hosts_pb2.ConnectRequest(**report))  # pyright: ignore[reportArgumentType] - one of its fields

    async def lose_vm(self, vm: str) -> None:
        """Reports that a VM crashed, with what is in it."""
        del self.vms[vm]
        for container in [container for container in self.containers.values() if container.vm == vm]:
            del self.containers[container.container]
        await self.report(vm_gone=hosts_pb2.VmGone(vm=vm, reason="crashed"))

    async def _obey(
        self,
        stream: "grpc.aio.StreamStreamCall[hosts_pb2.ConnectRequest, hosts_pb2.ConnectResponse]",
        group: asyncio.TaskGroup,
    ) -> None:
        running: list[asyncio.Task[None]] = []
        try:
            async for command in stream:
                async with self._changed:
                    self.commands.append(command)
                    self._changed.notify_all()
                running.append(group.create_task(self._carry_out(command)))
        except grpc.aio.AioRpcError:
            pass
        finally:
            self.closed.set()
            for task in running:
                task.cancel()

    async def _carry_out(self, command: hosts_pb2.ConnectResponse) -> None:
        kind = command.WhichOneof("command") or ""
        await self.gates[kind].wait()
        result = hosts_pb2.CommandResult(command_id=command.command_id)
        if self.failures[kind]:
            result.error_reason = self.failures[kind].popleft()
            if not result.error_reason:
                return
            result.error_message = "the test said so"
        elif kind == "create_container" and self.load_errors:
            result.load_error.CopyFrom(self.load_errors.popleft())
            gone = hosts_pb2.ContainerGone(container=command.create_container.container, reason="destroyed")
            await self.report(container_gone=gone)
        else:
            result.init_ms = 12.5 if kind == "create_container" else 0
            result.is_clone = kind == "create_vm" and bool(self.blanks)
            result.start = self._start(command)
            await self._do(command)
        await self.report(result=result)
        async with self._changed:
            self._changed.notify_all()

    def _start(self, command: hosts_pb2.ConnectResponse) -> invocations_pb2.StartKind.ValueType:
        """How a container comes to be: primed where its VM has a blank one, which it uses up."""
        if command.WhichOneof("command") != "create_container":
            return invocations_pb2.START_KIND_UNSPECIFIED
        for blank in self.vms[command.create_container.vm].blanks:
            if blank.runtime == command.create_container.spec.runtime and blank.count > 0:
                blank.count -= 1
                return invocations_pb2.START_KIND_PRIMED
        return invocations_pb2.START_KIND_COLD

    async def _do(self, command: hosts_pb2.ConnectResponse) -> None:
        match command.WhichOneof("command"):
            case "create_vm":
                create = command.create_vm
                memory_mib = create.shape.memory_mib - RESERVE_MIB
                await self._put_vm(
                    hosts_pb2.VmStatus(
                        vm=create.vm,
                        shape=create.shape,
                        state=hosts_pb2.VM_STATE_WARMING,
                        container_memory_mib=memory_mib,
                        blanks=[
                            hosts_pb2.BlankContainers(runtime=versions_pb2.Runtime.ValueType(runtime), count=number)
                            for runtime, number in self.blanks.items()
                        ],
                    )
                )
            case "assign_vm":
                vm = self.vms[command.assign_vm.vm]
                assert vm.tenant in ("", command.assign_vm.tenant), "a VM had two tenants"
                vm.tenant, vm.state = command.assign_vm.tenant, hosts_pb2.VM_STATE_ACTIVE
                await self._put_vm(vm)
            case "create_container":
                create = command.create_container
                vm = self.vms[create.vm]
                assert vm.tenant == create.spec.tenant, "a container is in another tenant's VM"
                used = sum(other.spec.memory_mib for other in self.containers.values() if other.vm == vm.vm)
                assert used + create.spec.memory_mib <= vm.container_memory_mib, "a VM is over its memory"
                await self._put_container(
                    hosts_pb2.ContainerStatus(
                        container=create.container,
                        vm=create.vm,
                        spec=create.spec,
                        state=hosts_pb2.CONTAINER_STATE_LOADED,
                        lease_id=create.lease_id,
                        holder=create.holder,
                    )
                )
            case "set_lease":
                container = self.containers[command.set_lease.container]
                container.lease_id, container.holder = command.set_lease.lease_id, command.set_lease.holder
                await self._put_container(container)
            case "destroy_container":
                if self.containers.pop(command.destroy_container.container, None):
                    gone = hosts_pb2.ContainerGone(container=command.destroy_container.container, reason="destroyed")
                    await self.report(container_gone=gone)
            case "destroy_vm":
                if self.vms.pop(command.destroy_vm.vm, None):
                    await self.report(vm_gone=hosts_pb2.VmGone(vm=command.destroy_vm.vm, reason="destroyed"))
            case None:
                raise AssertionError("a command of no kind")

    async def _put_vm(self, vm: hosts_pb2.VmStatus) -> None:
        self.vms[vm.vm] = vm
        await self.report(vm=vm)

    async def _put_container(self, container: hosts_pb2.ContainerStatus) -> None:
        self.containers[container.container] = container
        await self.report(container=container)


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
