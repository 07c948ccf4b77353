"""Simulated hosts: they obey the scheduler as host agents do, over the real streams, and take time for it.

What a host has is the truth that the checks look at. A host breaks off when it is told something that would put two
tenants on a VM, or more into a VM or onto itself than fits.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeAlias

from google.protobuf.message import Message
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_protos.v1 import invocations_pb2, versions_pb2
from stoker_scheduler.core import Core
from stoker_service.background import Background
from stoker_service.errors import StokerError

Outbox: TypeAlias = asyncio.Queue[hosts_pb2.ConnectRequest | None]
"""What is to go to the scheduler over one stream; None ends it."""

RESERVE_MIB = 160
"""What a VM keeps of its memory for itself, in MiB."""
BLANKS = (versions_pb2.RUNTIME_PYTHON3, versions_pb2.RUNTIME_NODEJS)
"""The blank containers of a VM that has just been cloned."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How long a host takes, in seconds; each time up to a quarter less or more.

    The defaults are those of docs/architecture.md and of the host agent's own measurements, under TCG on two cores.
    """

    clone_s: float = 1.0
    boot_s: float = 7.0
    assign_s: float = 0.055
    create_s: float = 0.45
    """To make a container whose runtime is up and whose code is not loaded."""
    bind_s: float = 0.02
    """To make a blank container the function's."""
    load_s: float = 0.15
    """To import the function's code."""
    lease_s: float = 0.0005
    destroy_vm_s: float = 0.3
    destroy_container_s: float = 0.05


@dataclass(slots=True, eq=False)
class SimulatedVm:
    """A VM."""

    id: str
    memory_mib: int
    container_memory_mib: int
    state: hosts_pb2.VmState.ValueType
    tenant: str = ""
    ready_s: float = 0.0
    """When it had been made."""
    blanks: dict[versions_pb2.Runtime.ValueType, int] = field(default_factory=dict[versions_pb2.Runtime.ValueType, int])
    containers: dict[str, "SimulatedContainer"] = field(default_factory=dict[str, "SimulatedContainer"])

    @property
    def free_mib(self) -> int:
        """Memory for more containers, in MiB."""
        return self.container_memory_mib - sum(box.spec.memory_mib for box in self.containers.values())


@dataclass(slots=True, eq=False)
class SimulatedContainer:
    """A container."""

    id: str
    vm: SimulatedVm
    spec: codestore_pb2.VersionSpec
    state: hosts_pb2.ContainerState.ValueType = hosts_pb2.CONTAINER_STATE_CREATING
    lease_id: str = ""
    holder: str = ""
    runs: "dict[Run, None]" = field(default_factory=dict["Run", None])


@dataclass(slots=True, eq=False)
class Run:
    """An invocation in a container."""

    container: SimulatedContainer
    ended: Callable[[bool], None]
    """Told whether it ran to its end."""
    timer: asyncio.TimerHandle | None = None


class HostMeter(Protocol):
    """What is told of memory and commands."""

    def allocated(self, mib: int) -> None:
        """VMs take so much more memory from now on."""
        ...

    def ran(self, mib: int) -> None:
        """Containers of so much more memory run something from now on."""
        ...

    def note(self, event: str) -> None:
        """Something happened."""
        ...


@dataclass(frozen=True, slots=True)
class Misfortune:
    """How often what a host does goes wrong, as shares of 1."""

    clone_fails: float = 0.0
    container_fails: float = 0.0
    told_twice: float = 0.0


class SimulatedHost:
    """One host, with its host agent."""

    def __init__(
        self,
        host: str,
        memory_mib: int,
        core: Core,
        background: Background,
        meter: HostMeter,
        random: Random,
        *,
        delays: Delays,
        misfortune: Misfortune,
    ) -> None:
        self.id = host
        self.memory_mib = memory_mib
        self.vms: dict[str, SimulatedVm] = {}
        self.containers: dict[str, SimulatedContainer] = {}
        self.is_up = True
        self._core = core
        self._background = background
        self._meter = meter
        self._random = random
        self._delays = delays
        self._misfortune = misfortune
        self._loop = asyncio.get_running_loop()
        self._outbox: Outbox | None = None
        self._boot = 0
        """Changes when the machine crashes: what was under way before comes to nothing."""
        self._busy_until_s: dict[str, float] = {}
        """By VM or container, when the last command about it will be done."""
        self._stalled_until_s = 0.0

    @property
    def free_mib(self) -> int:
        """Memory for more VMs, in MiB."""
        return self.memory_mib - sum(vm.memory_mib for vm in self.vms.values())

    @property
    def is_connected(self) -> bool:
        """Whether its stream to the scheduler stands."""
        return self._outbox is not None

    def connect(self) -> None:
        """Opens the stream to the scheduler."""
        outbox: Outbox = asyncio.Queue()
        outbox.put_nowait(hosts_pb2.ConnectRequest(snapshot=self._snapshot()))
        self._outbox = outbox
        self._background.start(self._converse(outbox), f"agent of {self.id}")

    def disconnect(self) -> None:
        """Breaks the stream to the scheduler; what the host has stays."""
        if self._outbox is not None:
            self._outbox.put_nowait(None)
            self._outbox = None

    def stall(self, for_s: float) -> None:
        """Neither hears nor says anything for a while; then all arrives, in order."""
        self._stalled_until_s = self._loop.time() + for_s

    def crash(self) -> None:
        """Loses the machine with all that is on it."""
        self.disconnect()
        self.is_up = False
        self._boot += 1
        self._busy_until_s.clear()
        for vm in list(self.vms.values()):
            self._lose_vm(vm)

    def restart(self) -> None:
        """Starts the machine again after a crash."""
        self.is_up = True
        self.connect()

    def crash_vm(self, vm: SimulatedVm) -> None:
        """Loses a VM with all that is in it."""
        self._lose_vm(vm)
        self._report(vm_gone=hosts_pb2.VmGone(vm=vm.id, reason="crashed"))

    def start(self, container: str, lease_id: str, run_s: float, ended: Callable[[bool], None]) -> bool:
        """Runs an invocation; returns whether it could be begun: not where the lease is stale.

        `ended` is told whether it ran to its end.
        """
        box = self.containers.get(container)
        if not self.is_up or box is None or box.state != hosts_pb2.CONTAINER_STATE_LOADED or box.lease_id != lease_id:
            return False
        if len(box.runs) >= max(1, box.spec.concurrency):
            return False
        run = Run(box, ended)
        if not box.runs:
            self._meter.ran(box.spec.memory_mib)
        box.runs[run] = None
        run.timer = self._loop.call_later(run_s, self._finish, run)
        return True

    def end_leases_of(self, holder: str) -> None:
        """Ends what a frontend had here that is no more."""
        held = [box for box in self.containers.values() if box.holder == holder]
        if not held or not self.is_up:
            return
        for box in held:
            box.lease_id = box.holder = ""
            for run in list(box.runs):
                self._end_run(run, is_finished=False)
        self._report(holder_gone=hosts_pb2.HolderGone(holder=holder))

    def _finish(self, run: Run) -> None:
        self._end_run(run, is_finished=True)

    def _end_run(self, run: Run, *, is_finished: bool) -> None:
        box = run.container
        del box.runs[run]
        if not box.runs:
            self._meter.ran(-box.spec.memory_mib)
        if run.timer is not None:
            run.timer.cancel()
        run.ended(is_finished)

    async def _converse(self, outbox: Outbox) -> None:
        try:
            async with aclosing(self._core.streams.serve(_queued(outbox), self._core.reports)) as commands:
                async for command in commands:
                    self._hear(outbox, command)
        except StokerError:
            # Another stream has taken its place.
            pass

    def _report(self, **report: Message) -> None:
        """Reports something; where there is no stream, the next snapshot tells it."""
        if self._outbox is None:
            return
        message = hosts_pb2.ConnectRequest(**report)  # pyright: ignore[reportArgumentType] - one of its fields
        is_twice = self._misfortune.told_twice and self._random.random() < self._misfortune.told_twice
        for _ in range(2 if is_twice else 1):
            if self._stalled_until_s > self._loop.time():
                self._loop.call_at(self._stalled_until_s, self._outbox.put_nowait, message)
            else:
                self._outbox.put_nowait(message)

    def _hear(self, outbox: Outbox, command: hosts_pb2.ConnectResponse) -> None:
        if self._outbox is not outbox:
            # Its stream has broken: it does not arrive.
            return
        now_s = self._loop.time()
        if self._stalled_until_s > now_s:
            self._loop.call_at(self._stalled_until_s, self._hear, outbox, command)
        else:
            self._take(command, now_s)

    def _take(self, command: hosts_pb2.ConnectResponse, now_s: float) -> None:
        """Begins to carry out a command."""
        match command.WhichOneof("command"):
            case "create_vm":
                order = command.create_vm
                self._meter.note(f"create {order.vm} on {self.id}")
                self._put_vm(order)
                self._after(order.vm, self._delays.clone_s, self._create_vm, command)
            case "assign_vm":
                self._after(command.assign_vm.vm, self._delays.assign_s, self._assign, command)
            case "destroy_vm":
                vm = command.destroy_vm.vm
                self._meter.note(f"destroy {vm}")
                self._end_vm(vm)
                self._later(self._delays.destroy_vm_s, self._destroy_vm, command)
            case "create_container":
                order = command.create_container
                self._meter.note(f"create {order.container} in {order.vm}")
                # The VM has to be done with what it was told before.
                before_s = self._busy_until_s.get(order.vm, now_s)
                self._loop.call_at(max(now_s, before_s), self._begin_container, self._boot, command)
            case "destroy_container":
                container = command.destroy_container.container
                self._meter.note(f"destroy {container}")
                self._end_container(container)
                self._after(container, self._delays.destroy_container_s, self._destroy_container, command)
            case "set_lease":
                self._after(command.set_lease.container, self._delays.lease_s, self._set_lease, command)
            case None:
                raise AssertionError("a command that a host does not know")

    def _jitter(self) -> float:
        return 0.75 + self._random.random() / 2

    def _after(
        self,
        subject: str,
        delay_s: float,
        then: Callable[[hosts_pb2.ConnectResponse], None],
        command: hosts_pb2.ConnectResponse,
    ) -> None:
        """Carries a command out when the one before it about the same thing is done."""
        begun_s = max(self._loop.time(), self._busy_until_s.get(subject, 0.0))
        done_s = self._busy_until_s[subject] = begun_s + delay_s * self._jitter()
        self._loop.call_at(done_s, self._now, self._boot, subject, then, command)

    def _later(
        self, delay_s: float, then: Callable[[hosts_pb2.ConnectResponse], None], command: hosts_pb2.ConnectResponse
    ) -> None:
        self._loop.call_later(delay_s * self._jitter(), self._now, self._boot, "", then, command)

    def _now(
        self,
        boot: int,
        subject: str,
        then: Callable[[hosts_pb2.ConnectResponse], None],
        command: hosts_pb2.ConnectResponse,
    ) -> None:
        if boot != self._boot:
            return
        if self._busy_until_s.get(subject, 0.0) <= self._loop.time():
            self._busy_until_s.pop(subject, None)
        then(command)

    def _put_vm(self, order: hosts_pb2.CreateVm) -> None:
        if order.vm in self.vms:
            return
        memory_mib = order.shape.memory_mib
        vm = SimulatedVm(order.vm, memory_mib, memory_mib - RESERVE_MIB, hosts_pb2.VM_STATE_CREATING)
        self.vms[vm.id] = vm
        assert self.free_mib >= 0, f"{self.id} is told to hold more than it can: {self.free_mib} MiB"
        self._meter.allocated(memory_mib)
        self._report_vm(vm)

    def _create_vm(self, command: hosts_pb2.ConnectResponse) -> None:
        vm = self.vms.get(command.create_vm.vm)
        if vm is None or vm.state == hosts_pb2.VM_STATE_ENDING:
            self._fail(command, "VM_NOT_FOUND")
        elif vm.state == hosts_pb2.VM_STATE_CREATING and self._random.random() < self._misfortune.clone_fails:
            self._lose_vm(vm)
            self._report(vm_gone=hosts_pb2.VmGone(vm=vm.id, reason="destroyed"))
            self._fail(command, "CLONE_FAILED")
        else:
            if vm.state == hosts_pb2.VM_STATE_CREATING:
                vm.state, vm.ready_s = hosts_pb2.VM_STATE_WARMING, self._loop.time()
                vm.blanks = dict.fromkeys(BLANKS, 1)
                self._report_vm(vm)
            self._succeed(command, is_clone=True)

    def _assign(self, command: hosts_pb2.ConnectResponse) -> None:
        vm = self.vms.get(command.assign_vm.vm)
        if vm is None or vm.state in (hosts_pb2.VM_STATE_CREATING, hosts_pb2.VM_STATE_ENDING):
            self._fail(command, "VM_NOT_FOUND")
            return
        assert vm.tenant in ("", command.assign_vm.tenant), f"{vm.id} gets a second tenant"
        vm.tenant, vm.state = command.assign_vm.tenant, hosts_pb2.VM_STATE_ACTIVE
        self._report_vm(vm)
        self._succeed(command)

    def _end_vm(self, vm_id: str) -> None:
        vm = self.vms.get(vm_id)
        if vm is not None and vm.state != hosts_pb2.VM_STATE_ENDING:
            self._lose_containers(vm)
            vm.state = hosts_pb2.VM_STATE_ENDING
            self._report_vm(vm)

    def _destroy_vm(self, command: hosts_pb2.ConnectResponse) -> None:
        vm = self.vms.get(command.destroy_vm.vm)
        if vm is not None:
            self._lose_vm(vm)
            self._report(vm_gone=hosts_pb2.VmGone(vm=vm.id, reason="destroyed"))
        self._succeed(command)

    def _begin_container(self, boot: int, command: hosts_pb2.ConnectResponse) -> None:
        if boot != self._boot:
            return
        order = command.create_container
        vm = self.vms.get(order.vm)
        if vm is None or vm.state != hosts_pb2.VM_STATE_ACTIVE:
            self._fail(command, "VM_NOT_FOUND")
            return
        if order.container not in self.containers:
            assert vm.tenant == order.spec.tenant, f"{order.container} of {order.spec.tenant} in {vm.id} of {vm.tenant}"
            box = SimulatedContainer(order.container, vm, order.spec, lease_id=order.lease_id, holder=order.holder)
            vm.containers[box.id] = self.containers[box.id] = box
            assert vm.free_mib >= 0, f"{vm.id} is told to hold more than it can: {vm.free_mib} MiB"
            self._report_container(box)
        is_primed = self._take_blank(vm, order.spec.runtime)
        make_s = self._delays.bind_s if is_primed else self._delays.create_s
        total_s = (make_s + self._delays.load_s) * self._jitter()
        done_s = self._busy_until_s[order.container] = self._loop.time() + total_s
        self._loop.call_at(done_s, self._create_container, self._boot, command, is_primed, total_s)

    def _take_blank(self, vm: SimulatedVm, runtime: versions_pb2.Runtime.ValueType) -> bool:
        if not vm.blanks.get(runtime):
            return False
        vm.blanks[runtime] -= 1
        self._report_vm(vm)
        self._loop.call_later(self._delays.create_s * self._jitter(), self._refill, self._boot, vm, runtime)
        return True

    def _refill(self, boot: int, vm: SimulatedVm, runtime: versions_pb2.Runtime.ValueType) -> None:
        if boot == self._boot and self.vms.get(vm.id) is vm and vm.state == hosts_pb2.VM_STATE_ACTIVE:
            vm.blanks[runtime] += 1
            self._report_vm(vm)

    def _create_container(self, boot: int, command: hosts_pb2.ConnectResponse, is_primed: bool, took_s: float) -> None:
        if boot != self._boot:
            return
        order = command.create_container
        box = self.containers.get(order.container)
        if box is None or box.state == hosts_pb2.CONTAINER_STATE_ENDING:
            self._fail(command, "CONTAINER_NOT_FOUND")
        elif self._random.random() < self._misfortune.container_fails:
            self._lose_container(box)
            self._report(container_gone=hosts_pb2.ContainerGone(container=box.id, reason="exited"))
            self._fail(command, "CONTAINER_FAILED")
        else:
            box.state = hosts_pb2.CONTAINER_STATE_LOADED
            self._report_container(box)
            start = invocations_pb2.START_KIND_PRIMED if is_primed else invocations_pb2.START_KIND_COLD
            self._succeed(command, init_ms=took_s * 1000, start=start)

    def _end_container(self, container: str) -> None:
        box = self.containers.get(container)
        if box is not None and box.state != hosts_pb2.CONTAINER_STATE_ENDING:
            box.state, box.lease_id, box.holder = hosts_pb2.CONTAINER_STATE_ENDING, "", ""
            for run in list(box.runs):
                self._end_run(run, is_finished=False)
            self._report_container(box)

    def _destroy_container(self, command: hosts_pb2.ConnectResponse) -> None:
        box = self.containers.get(command.destroy_container.container)
        if box is not None:
            self._lose_container(box)
            self._report(container_gone=hosts_pb2.ContainerGone(container=box.id, reason="destroyed"))
        self._succeed(command)

    def _set_lease(self, command: hosts_pb2.ConnectResponse) -> None:
        order = command.set_lease
        box = self.containers.get(order.container)
        if box is None or box.state == hosts_pb2.CONTAINER_STATE_ENDING:
            self._fail(command, "CONTAINER_NOT_FOUND")
            return
        if (box.lease_id, box.holder) != (order.lease_id, order.holder):
            box.lease_id, box.holder = order.lease_id, order.holder
            self._report_container(box)
        self._succeed(command)

    def _lose_vm(self, vm: SimulatedVm) -> None:
        self._lose_containers(vm)
        if self.vms.pop(vm.id, None):
            self._meter.allocated(-vm.memory_mib)

    def _lose_containers(self, vm: SimulatedVm) -> None:
        for box in list(vm.containers.values()):
            self._lose_container(box)

    def _lose_container(self, box: SimulatedContainer) -> None:
        del self.containers[box.id], box.vm.containers[box.id]
        self._busy_until_s.pop(box.id, None)
        for run in list(box.runs):
            self._end_run(run, is_finished=False)

    def _succeed(
        self,
        command: hosts_pb2.ConnectResponse,
        *,
        init_ms: float = 0.0,
        start: invocations_pb2.StartKind.ValueType = invocations_pb2.START_KIND_UNSPECIFIED,
        is_clone: bool = False,
    ) -> None:
        result = hosts_pb2.CommandResult(command_id=command.command_id, init_ms=init_ms, start=start, is_clone=is_clone)
        self._report(result=result)

    def _fail(self, command: hosts_pb2.ConnectResponse, reason: str) -> None:
        result = hosts_pb2.CommandResult(
            command_id=command.command_id, error_reason=reason, error_message="as the simulation has it"
        )
        self._report(result=result)

    def _report_vm(self, vm: SimulatedVm) -> None:
        self._report(vm=_vm_status(vm))

    def _report_container(self, box: SimulatedContainer) -> None:
        self._report(container=_container_status(box))

    def _snapshot(self) -> hosts_pb2.HostSnapshot:
        return hosts_pb2.HostSnapshot(
            host=self.id,
            address=self.id,
            memory_mib=self.memory_mib,
            vcpus=16,
            accelerator="kvm",
            vms=map(_vm_status, self.vms.values()),
            containers=map(_container_status, self.containers.values()),
        )


async def _queued(outbox: Outbox) -> AsyncGenerator[hosts_pb2.ConnectRequest]:
    while (message := await outbox.get()) is not None:
        yield message


def _vm_status(vm: SimulatedVm) -> hosts_pb2.VmStatus:
    return hosts_pb2.VmStatus(
        vm=vm.id,
        shape=hosts_pb2.Shape(vcpus=1, memory_mib=vm.memory_mib),
        state=vm.state,
        tenant=vm.tenant,
        container_memory_mib=vm.container_memory_mib,
        blanks=[hosts_pb2.BlankContainers(runtime=runtime, count=count) for runtime, count in vm.blanks.items()],
    )


def _container_status(box: SimulatedContainer) -> hosts_pb2.ContainerStatus:
    return hosts_pb2.ContainerStatus(
        container=box.id, vm=box.vm.id, spec=box.spec, state=box.state, lease_id=box.lease_id, holder=box.holder
    )
