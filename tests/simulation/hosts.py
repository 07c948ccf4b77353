"""Simulated hosts: they obey the scheduler as host agents do, over the real streams, and take time for it.

What a host has is the truth that the checks look at. A host breaks off when it is told something that would put two
tenants on a VM, or more into a VM or onto itself than fits.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random

from google.protobuf.message import Message
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_protos.v1 import invocations_pb2, versions_pb2
from stoker_scheduler.core import Core
from stoker_service.background import Background

from tests.simulation.agent_stream import AgentStream
from tests.simulation.inventory import Inventory
from tests.simulation.machines import (
    BLANKS,
    RESERVE_MIB,
    Delays,
    HostMeter,
    Misfortune,
    SimulatedContainer,
    SimulatedVm,
    container_status,
    vm_status,
)


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
        self.inventory = Inventory(memory_mib, meter)
        self._stream = AgentStream(core, background, self._take, self._is_told_twice)
        self._meter = meter
        self._random = random
        self._delays = delays
        self._misfortune = misfortune
        self._loop = asyncio.get_running_loop()
        self._boot = 0
        """Changes when the machine crashes: what was under way before comes to nothing."""
        self._busy_until_s: dict[str, float] = {}
        """By VM or container, when the last command about it will be done."""

    @property
    def is_connected(self) -> bool:
        """Whether its stream to the scheduler stands."""
        return self._stream.is_open

    def connect(self) -> None:
        """Opens the stream to the scheduler."""
        self._stream.open(self.id, self._snapshot())

    def disconnect(self) -> None:
        """Breaks the stream to the scheduler; what the host has stays."""
        self._stream.close()

    def stall(self, for_s: float) -> None:
        """Neither hears nor says anything for a while; then all arrives, in order."""
        self._stream.stall(for_s)

    def crash(self) -> None:
        """Loses the machine with all that is on it; it is back, empty, as soon as it connects."""
        self.disconnect()
        self._boot += 1
        self._busy_until_s.clear()
        for vm in list(self.inventory.vms.values()):
            self.inventory.lose_vm(vm)

    def crash_vm(self, vm: SimulatedVm) -> None:
        """Loses a VM with all that is in it."""
        self.inventory.lose_vm(vm)
        self._report(vm_gone=hosts_pb2.VmGone(vm=vm.id, reason="crashed"))

    def end_leases_of(self, holder: str) -> None:
        """Ends what a frontend had here that is no more."""
        held = [box for box in self.inventory.containers.values() if box.holder == holder]
        if not held:
            return
        for box in held:
            box.lease_id = box.holder = ""
            self.inventory.end_runs(box)
        self._report(holder_gone=hosts_pb2.HolderGone(holder=holder))

    def _report(self, **report: Message) -> None:
        """Reports something; where there is no stream, the next snapshot tells it."""
        self._stream.report(hosts_pb2.ConnectRequest(**report))  # pyright: ignore[reportArgumentType] - one of its fields

    def _is_told_twice(self) -> bool:
        share = self._misfortune.told_twice
        return share > 0 and self._random.random() < share

    def _take(self, command: hosts_pb2.ConnectResponse) -> None:
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
                begin_s = max(self._loop.time(), self._busy_until_s.get(order.vm, 0.0))
                self._loop.call_at(begin_s, self._begin_container, self._boot, command)
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
        if order.vm in self.inventory.vms:
            return
        memory_mib = order.shape.memory_mib
        vm = SimulatedVm(order.vm, memory_mib, memory_mib - RESERVE_MIB, hosts_pb2.VM_STATE_CREATING)
        self.inventory.put_vm(vm)
        self._report_vm(vm)

    def _create_vm(self, command: hosts_pb2.ConnectResponse) -> None:
        vm = self.inventory.vms.get(command.create_vm.vm)
        if vm is None or vm.state == hosts_pb2.VM_STATE_ENDING:
            self._fail(command, "VM_NOT_FOUND")
        elif vm.state == hosts_pb2.VM_STATE_CREATING and self._random.random() < self._misfortune.clone_fails:
            self.inventory.lose_vm(vm)
            self._report(vm_gone=hosts_pb2.VmGone(vm=vm.id, reason="destroyed"))
            self._fail(command, "CLONE_FAILED")
        else:
            if vm.state == hosts_pb2.VM_STATE_CREATING:
                vm.state, vm.ready_s = hosts_pb2.VM_STATE_WARMING, self._loop.time()
                vm.blanks = dict.fromkeys(BLANKS, 1)
                self._report_vm(vm)
            self._succeed(command, is_clone=True)

    def _assign(self, command: hosts_pb2.ConnectResponse) -> None:
        vm = self.inventory.vms.get(command.assign_vm.vm)
        if vm is None or vm.state in (hosts_pb2.VM_STATE_CREATING, hosts_pb2.VM_STATE_ENDING):
            self._fail(command, "VM_NOT_FOUND")
            return
        assert vm.tenant in ("", command.assign_vm.tenant), f"{vm.id} gets a second tenant"
        vm.tenant, vm.state = command.assign_vm.tenant, hosts_pb2.VM_STATE_ACTIVE
        self._report_vm(vm)
        self._succeed(command)

    def _end_vm(self, vm_id: str) -> None:
        vm = self.inventory.vms.get(vm_id)
        if vm is not None and vm.state != hosts_pb2.VM_STATE_ENDING:
            self.inventory.lose_containers(vm)
            vm.state = hosts_pb2.VM_STATE_ENDING
            self._report_vm(vm)

    def _destroy_vm(self, command: hosts_pb2.ConnectResponse) -> None:
        vm = self.inventory.vms.get(command.destroy_vm.vm)
        if vm is not None:
            self.inventory.lose_vm(vm)
            self._report(vm_gone=hosts_pb2.VmGone(vm=vm.id, reason="destroyed"))
        self._succeed(command)

    def _begin_container(self, boot: int, command: hosts_pb2.ConnectResponse) -> None:
        if boot != self._boot:
            return
        order = command.create_container
        vm = self.inventory.vms.get(order.vm)
        if vm is None or vm.state != hosts_pb2.VM_STATE_ACTIVE:
            self._fail(command, "VM_NOT_FOUND")
            return
        if order.container not in self.inventory.containers:
            box = SimulatedContainer(order.container, vm, order.spec, lease_id=order.lease_id, holder=order.holder)
            self.inventory.put_container(box)
            self._report_container(box)
        is_primed = self._take_blank(vm, order.spec.runtime)
        make_s = self._delays.bind_s if is_primed else self._delays.create_s
        total_s = (make_s + self._delays.load_s) * self._jitter()
        done_s = self._busy_until_s[order.container] = self._loop.time() + total_s
        made = partial(self._create_container, is_primed, total_s)
        self._loop.call_at(done_s, self._now, self._boot, order.container, made, command)

    def _take_blank(self, vm: SimulatedVm, runtime: versions_pb2.Runtime.ValueType) -> bool:
        if not vm.blanks.get(runtime):
            return False
        vm.blanks[runtime] -= 1
        self._report_vm(vm)
        self._loop.call_later(self._delays.create_s * self._jitter(), self._refill, self._boot, vm, runtime)
        return True

    def _refill(self, boot: int, vm: SimulatedVm, runtime: versions_pb2.Runtime.ValueType) -> None:
        if boot == self._boot and self.inventory.vms.get(vm.id) is vm and vm.state == hosts_pb2.VM_STATE_ACTIVE:
            vm.blanks[runtime] += 1
            self._report_vm(vm)

    def _create_container(self, is_primed: bool, took_s: float, command: hosts_pb2.ConnectResponse) -> None:
        order = command.create_container
        box = self.inventory.containers.get(order.container)
        if box is None or box.state == hosts_pb2.CONTAINER_STATE_ENDING:
            self._fail(command, "CONTAINER_NOT_FOUND")
        elif self._random.random() < self._misfortune.container_fails:
            self.inventory.lose_container(box)
            self._report(container_gone=hosts_pb2.ContainerGone(container=box.id, reason="exited"))
            self._fail(command, "CONTAINER_FAILED")
        else:
            box.state = hosts_pb2.CONTAINER_STATE_LOADED
            self._report_container(box)
            start = invocations_pb2.START_KIND_PRIMED if is_primed else invocations_pb2.START_KIND_COLD
            self._succeed(command, init_ms=took_s * 1000, start=start)

    def _end_container(self, container: str) -> None:
        box = self.inventory.containers.get(container)
        if box is not None and box.state != hosts_pb2.CONTAINER_STATE_ENDING:
            box.state, box.lease_id, box.holder = hosts_pb2.CONTAINER_STATE_ENDING, "", ""
            self.inventory.end_runs(box)
            self._report_container(box)

    def _destroy_container(self, command: hosts_pb2.ConnectResponse) -> None:
        box = self.inventory.containers.get(command.destroy_container.container)
        if box is not None:
            self.inventory.lose_container(box)
            self._report(container_gone=hosts_pb2.ContainerGone(container=box.id, reason="destroyed"))
        self._succeed(command)

    def _set_lease(self, command: hosts_pb2.ConnectResponse) -> None:
        order = command.set_lease
        box = self.inventory.containers.get(order.container)
        if box is None or box.state == hosts_pb2.CONTAINER_STATE_ENDING:
            self._fail(command, "CONTAINER_NOT_FOUND")
            return
        if (box.lease_id, box.holder) != (order.lease_id, order.holder):
            box.lease_id, box.holder = order.lease_id, order.holder
            self._report_container(box)
        self._succeed(command)

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
        self._report(vm=vm_status(vm))

    def _report_container(self, box: SimulatedContainer) -> None:
        self._report(container=container_status(box))

    def _snapshot(self) -> hosts_pb2.HostSnapshot:
        return hosts_pb2.HostSnapshot(
            host=self.id,
            address=self.id,
            memory_mib=self.inventory.memory_mib,
            vcpus=16,
            accelerator="kvm",
            vms=map(vm_status, self.inventory.vms.values()),
            containers=map(container_status, self.inventory.containers.values()),
        )
