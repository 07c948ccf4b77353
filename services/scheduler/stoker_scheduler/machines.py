"""What the scheduler knows of hosts, their VMs and the containers in those.

All are values: a change is another value of the same id.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum


@dataclass(frozen=True, slots=True)
class Shape:
    """The vCPUs and memory of a VM."""

    vcpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with a hypervisor and a host agent."""

    id: str
    address: str
    """Where its agent answers, `address:port`."""
    memory_mib: int
    """Memory for VMs in MiB."""
    vcpus: int = 1
    accelerator: str = ""
    """`kvm` or `qemu`."""
    accelerator_reason: str = ""


Blanks = tuple[tuple[int, int], ...]
"""Blank containers: a runtime (a value of `stoker.v1.Runtime`), and how many there are of it."""


class VmState(IntEnum):
    """Where a VM is in its life. It goes through these in order, and never back."""

    CREATING = 1
    WARMING = 2
    ASSIGNING = 3
    ACTIVE = 4
    ENDING = 5


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine."""

    id: str
    host: str
    shape: Shape
    state: VmState
    container_memory_mib: int
    """What of its memory containers may use, in MiB; an estimate until it has booted."""
    tenant: str = ""
    """Whose it is, or is about to be; empty in the warming pool."""
    since_s: float = 0.0
    """Since when it has been in this state."""
    blanks: Blanks = ()
    """The blank containers that wait in it for code, as its host told last."""


FunctionKey = tuple[str, str]
"""A function: its tenant and its name."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a function: what a container runs."""

    uid: str
    """Unique for ever: what containers are matched by."""
    tenant: str
    function: str
    number: int
    artifact_sha256: str
    memory_mib: int
    """The memory of one container in MiB, its `/tmp` included."""
    spec: bytes = field(default=b"", repr=False)
    """The serialized `stoker.codestore.v1.VersionSpec`, which hosts are sent as it came."""
    runtime: int = 0
    """What runs it: a value of `stoker.v1.Runtime`."""
    concurrency: int = 1
    """How many invocations one container runs at once."""
    timeout_s: float = 900.0
    """How long one invocation may take, in seconds."""

    @property
    def key(self) -> FunctionKey:
        """The function that it is a version of."""
        return (self.tenant, self.function)


class ContainerState(Enum):
    """Where a container is in its life."""

    CREATING = "creating"
    IDLE = "idle"
    LEASED = "leased"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Container:
    """A container in a VM, which runs one version."""

    id: str
    vm: str
    version: Version
    state: ContainerState
    since_s: float = 0.0
    """Since when it has been in this state."""
    is_provisioned: bool = False
    """Whether it is kept loaded although nobody uses it."""

    @property
    def is_busy(self) -> bool:
        """Whether somebody has it or waits for it, so that nothing may end it."""
        return self.state in (ContainerState.CREATING, ContainerState.LEASED)


@dataclass(frozen=True, slots=True)
class Demand:
    """A container that somebody wants."""

    version: Version
    holder: str
    """Who wants it: a frontend."""
    replaces: tuple[str, ...] = ()
    """The uids of versions that it takes the place of and that nothing else needs."""
    is_in_background: bool = False
    """Whether nobody waits for it, since another version answers meanwhile."""
