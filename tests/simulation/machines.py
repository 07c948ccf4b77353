"""What simulated hosts consist of, how long they take for things, and how often those fail."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_protos.v1 import versions_pb2

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


def vm_status(vm: SimulatedVm) -> hosts_pb2.VmStatus:
    """A VM, as a host agent reports it."""
    return hosts_pb2.VmStatus(
        vm=vm.id,
        shape=hosts_pb2.Shape(vcpus=1, memory_mib=vm.memory_mib),
        state=vm.state,
        tenant=vm.tenant,
        container_memory_mib=vm.container_memory_mib,
        blanks=[hosts_pb2.BlankContainers(runtime=runtime, count=count) for runtime, count in vm.blanks.items()],
    )


def container_status(box: SimulatedContainer) -> hosts_pb2.ContainerStatus:
    """A container, as a host agent reports it."""
    return hosts_pb2.ContainerStatus(
        container=box.id, vm=box.vm.id, spec=box.spec, state=box.state, lease_id=box.lease_id, holder=box.holder
    )
