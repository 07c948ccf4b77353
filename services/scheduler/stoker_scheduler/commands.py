"""What host agents are told to do, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from stoker_scheduler.machines import Shape, Version


@dataclass(frozen=True, slots=True)
class CreateVm:
    """Make a VM without a tenant."""

    vm: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class AssignVm:
    """Give a VM to a tenant, for good."""

    vm: str
    tenant: str
    first: Version | None = None
    """What its first container is going to run, where that is known."""


@dataclass(frozen=True, slots=True)
class DestroyVm:
    """Destroy a VM."""

    vm: str


@dataclass(frozen=True, slots=True)
class CreateContainer:
    """Make a container and load a version into it, under a lease from the start."""

    container: str
    vm: str
    version: Version
    lease_id: str
    holder: str
    is_in_background: bool = False
    """Whether nobody waits for it, so that what runs in the VM comes first."""


@dataclass(frozen=True, slots=True)
class DestroyContainer:
    """Destroy a container."""

    container: str


@dataclass(frozen=True, slots=True)
class SetLease:
    """Put a container under a lease, or, with empty ids, under none."""

    container: str
    lease_id: str = ""
    holder: str = ""


Command = CreateVm | AssignVm | DestroyVm | CreateContainer | DestroyContainer | SetLease


def subject_of(command: Command) -> str:
    """The VM or container that a command is about."""
    match command:
        case CreateVm(vm) | AssignVm(vm) | DestroyVm(vm):
            return vm
        case CreateContainer(container) | DestroyContainer(container) | SetLease(container):
            return container


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """The function's own code could not be loaded."""

    kind: int
    """A value of `stoker.v1.FunctionErrorKind`."""
    type: str
    message: str
    stack_trace: Sequence[str] = ()
    init_ms: float = 0.0
    """How long making the container took until then, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command was carried out."""

    init_ms: float = 0.0
    """For `CreateContainer`: how long making it and loading the code took, in milliseconds."""
    is_primed: bool = False
    """For `CreateContainer`: whether a blank container got the code, so that none had to be made."""
    is_clone: bool = False
    """For `CreateVm`: whether the VM is a clone of a template, and did not have to boot."""


HOST_LOST = "HOST_LOST"


class CommandFailed(Exception):
    """A command was not carried out, as far as is known."""

    def __init__(self, reason: str, message: str) -> None:
        """Makes a failure.

        Args:
            reason: In UPPER_SNAKE_CASE: the host's own, or HOST_LOST, HOST_BUSY, COMMAND_TIMEOUT, VM_LOST,
                CONTAINER_LOST, NO_ROOM.
            message: The reason in words.
        """
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.is_host_lost = reason == HOST_LOST
        self.message = message


def host_lost(host: str) -> CommandFailed:
    """The host's stream broke, or there is none."""
    return CommandFailed(HOST_LOST, f"host {host} is not connected any more")
