"""What a simulated host has: VMs, their containers, and what runs in those."""

import asyncio
from collections.abc import Callable

from stoker_protos.scheduler.v1 import hosts_pb2

from tests.simulation.machines import HostMeter, Run, SimulatedContainer, SimulatedVm


class Inventory:
    """The truth about one host."""

    def __init__(self, memory_mib: int, meter: HostMeter) -> None:
        self.memory_mib = memory_mib
        self.vms: dict[str, SimulatedVm] = {}
        self.containers: dict[str, SimulatedContainer] = {}
        self._meter = meter
        self._loop = asyncio.get_running_loop()

    @property
    def free_mib(self) -> int:
        """Memory for more VMs, in MiB."""
        return self.memory_mib - sum(vm.memory_mib for vm in self.vms.values())

    def put_vm(self, vm: SimulatedVm) -> None:
        """Adds a VM."""
        self.vms[vm.id] = vm
        assert self.free_mib >= 0, f"a host is told to hold more than it can: {self.free_mib} MiB"
        self._meter.allocated(vm.memory_mib)

    def put_container(self, box: SimulatedContainer) -> None:
        """Adds a container to its VM."""
        vm, tenant = box.vm, box.spec.tenant
        assert vm.tenant == tenant, f"{box.id} of {tenant} is put into {vm.id} of {vm.tenant}"
        vm.containers[box.id] = self.containers[box.id] = box
        assert vm.free_mib >= 0, f"{vm.id} is told to hold more than it can: {vm.free_mib} MiB"

    def start(self, container: str, lease_id: str, run_s: float, ended: Callable[[bool], None]) -> bool:
        """Runs an invocation; returns whether it could be begun: not where the lease is stale.

        `ended` is told whether it ran to its end.
        """
        box = self.containers.get(container)
        if box is None or box.state != hosts_pb2.CONTAINER_STATE_LOADED or box.lease_id != lease_id:
            return False
        if len(box.runs) >= max(1, box.spec.concurrency):
            return False
        run = Run(box, ended)
        if not box.runs:
            self._meter.ran(box.spec.memory_mib)
        box.runs[run] = None
        run.timer = self._loop.call_later(run_s, self.end_run, run)
        return True

    def end_run(self, run: Run, *, is_finished: bool = True) -> None:
        """Ends an invocation, also before its time."""
        box = run.container
        del box.runs[run]
        if not box.runs:
            self._meter.ran(-box.spec.memory_mib)
        if run.timer is not None and not is_finished:
            run.timer.cancel()
        run.ended(is_finished)

    def end_runs(self, box: SimulatedContainer) -> None:
        """Ends what runs in a container before its time."""
        for run in list(box.runs):
            self.end_run(run, is_finished=False)

    def lose_vm(self, vm: SimulatedVm) -> None:
        """Removes a VM with all that is in it."""
        self.lose_containers(vm)
        if self.vms.pop(vm.id, None):
            self._meter.allocated(-vm.memory_mib)

    def lose_containers(self, vm: SimulatedVm) -> None:
        """Removes the containers of a VM."""
        for box in list(vm.containers.values()):
            self.lose_container(box)

    def lose_container(self, box: SimulatedContainer) -> None:
        """Removes a container."""
        del self.containers[box.id], box.vm.containers[box.id]
        self.end_runs(box)
