"""What the scheduler commands: carried out at the same time, but one after the other where they touch the same thing.

A command on a VM waits for those given before it on that VM; a command on a container waits for those given before it
on that container, and its making for those on its VM. A VM is destroyed at once, whatever else goes on in it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_service.background import Background
from stoker_service.errors import StokerError
from stoker_service.interceptors import InvalidRequest
from stoker_service.validation import violations_of

from stoker_hostagent import errors
from stoker_hostagent.container_life import ContainerLife
from stoker_hostagent.containers import Containers
from stoker_hostagent.tracing import command_span
from stoker_hostagent.vm import Shape, Vm
from stoker_hostagent.wire import failure_to_proto, lease_from, shape_from_proto, start_to_proto, version_from_spec

log = structlog.get_logger()

MAX_COMMANDS = 10_000


class CommandedMachines(Protocol):
    """The VMs, as far as they are commanded. `virtual_machines.VirtualMachines` says how each call behaves."""

    async def create(self, vm_id: str, shape: Shape) -> Vm:
        """Makes a VM."""
        ...

    async def assign(self, vm_id: str, tenant: str) -> Vm:
        """Gives a VM to a tenant."""
        ...

    async def destroy(self, vm_id: str) -> None:
        """Destroys a VM."""
        ...


class Commands:
    """Carries out commands, whichever connection they came by."""

    def __init__(
        self,
        machines: CommandedMachines,
        containers: Containers,
        life: ContainerLife,
        background: Background,
        report: Callable[[hosts_pb2.CommandResult], None],
    ) -> None:
        """Begins with none under way.

        Args:
            machines: The VMs.
            containers: The book of containers.
            life: What makes and destroys containers.
            background: What owns the commands.
            report: Told how each ended.
        """
        self._machines = machines
        self._containers = containers
        self._life = life
        self._background = background
        self._report = report
        self._running: set[asyncio.Task[None]] = set()
        self._last_on: dict[str, asyncio.Task[None]] = {}

    def start(self, command: hosts_pb2.ConnectResponse) -> None:
        """Begins to carry out a command; its result is reported."""
        if len(self._running) >= MAX_COMMANDS:
            self._report(_failed(command, errors.too_many_commands(MAX_COMMANDS)))
            return
        own, after = _lanes(command)
        before = [task for lane in after if (task := self._last_on.get(lane))]
        task = self._background.start(self._carry_out(command, before), f"command {command.command_id}")
        self._running.add(task)
        self._last_on[own] = task
        task.add_done_callback(lambda task: self._ended(task, own))

    def _ended(self, task: asyncio.Task[None], lane: str) -> None:
        self._running.discard(task)
        if self._last_on.get(lane) is task:
            del self._last_on[lane]

    async def _carry_out(self, command: hosts_pb2.ConnectResponse, before: Sequence[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        try:
            with command_span(command.WhichOneof("command") or "unknown", command.traceparent):
                result = await self._do(command)
        except StokerError as error:
            log.warning("command.failed", command=command.WhichOneof("command"), error=str(error))
            result = _failed(command, error)
        except Exception as error:
            log.error("command.broke", command=command.WhichOneof("command"), exc_info=error)
            result = hosts_pb2.CommandResult(
                command_id=command.command_id,
                error_reason="INTERNAL",
                error_message="the host agent failed by a fault of Stoker; its log has the trace",
            )
        self._report(result)

    async def _do(self, command: hosts_pb2.ConnectResponse) -> hosts_pb2.CommandResult:
        if violations := violations_of(command):
            raise InvalidRequest(violations)
        match command.WhichOneof("command"):
            case "create_vm":
                create_vm = command.create_vm
                vm = await self._machines.create(create_vm.vm, shape_from_proto(create_vm.shape))
                return hosts_pb2.CommandResult(command_id=command.command_id, is_clone=vm.is_clone)
            case "assign_vm":
                assign = command.assign_vm
                if assign.HasField("first") and assign.first.tenant == assign.tenant:
                    self._life.fetch_ahead(version_from_spec(assign.first))
                await self._machines.assign(assign.vm, assign.tenant)
            case "destroy_vm":
                await self._machines.destroy(command.destroy_vm.vm)
            case "create_container":
                create = command.create_container
                lease = lease_from(create.lease_id, create.holder)
                created = await self._life.create(
                    create.container,
                    create.vm,
                    version_from_spec(create.spec),
                    lease,
                    is_in_background=create.in_background,
                )
                return hosts_pb2.CommandResult(
                    command_id=command.command_id,
                    init_ms=created.init_ms,
                    start=start_to_proto(created.start),
                    load_error=failure_to_proto(created.load_failure) if created.load_failure else None,
                )
            case "destroy_container":
                await self._life.destroy(command.destroy_container.container)
            case "set_lease":
                set_lease = command.set_lease
                lease = lease_from(set_lease.lease_id, set_lease.holder)
                self._containers.set_lease(set_lease.container, lease)
            case None:
                raise errors.command_unknown()
        return hosts_pb2.CommandResult(command_id=command.command_id)


def _lanes(command: hosts_pb2.ConnectResponse) -> tuple[str, Sequence[str]]:
    """What a command occupies, and after whose last command it comes."""
    match command.WhichOneof("command"):
        case "create_vm":
            own = command.create_vm.vm
        case "assign_vm":
            own = command.assign_vm.vm
        case "destroy_vm":
            return command.destroy_vm.vm, ()
        case "create_container":
            create = command.create_container
            return create.container, (create.container, create.vm)
        case "destroy_container":
            own = command.destroy_container.container
        case "set_lease":
            own = command.set_lease.container
        case None:
            own = ""
    return own, (own,)


def _failed(command: hosts_pb2.ConnectResponse, error: StokerError) -> hosts_pb2.CommandResult:
    return hosts_pb2.CommandResult(
        command_id=command.command_id, error_reason=error.reason, error_message=error.message
    )
