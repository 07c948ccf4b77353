"""Virtual machines as plain values: what they are, where they are in their life, and what listeners are told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

VM_ID = re.compile("vm-[0-9a-f]{12}")


class VmState(Enum):
    """Where a VM is in its life. It goes through these in order, and never back."""

    CREATING = "creating"
    """Being made; no guest has answered yet."""
    WARMING = "warming"
    """Booted, without a tenant."""
    ASSIGNING = "assigning"
    """It has a tenant, whose code share is being attached."""
    ACTIVE = "active"
    """It has a tenant, and is ready for containers."""
    ENDING = "ending"
    """Being destroyed."""


class GoneReason(Enum):
    """Why a VM is no more."""

    DESTROYED = "destroyed"
    """Somebody asked for it."""
    CRASHED = "crashed"
    """It ended by itself, or never became usable."""
    UNREACHABLE = "unreachable"
    """Its guest did not answer for long, and so it was destroyed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The vCPUs and memory of a VM."""

    vcpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM at one moment."""

    id: str
    """`vm-` and 12 hexadecimal digits."""
    shape: Shape
    state: VmState
    tenant: str
    """Whose it is, for good; empty in the warming pool."""
    container_memory_mib: int
    """What of its memory containers may use, in MiB; 0 until its guest has answered."""
    is_clone: bool = False
    """Whether it is a clone of a template; it was booted otherwise."""


class VmListener(Protocol):
    """Who is told what happens to VMs. Called on the event loop; must neither block nor raise."""

    def vm_changed(self, vm: Vm) -> None:
        """A VM has appeared, or changed."""
        ...

    def vm_gone(self, vm_id: str, reason: GoneReason) -> None:
        """A VM is no more, with all its containers. Said once, whoever ended it."""
        ...

    def container_exited(self, vm_id: str, container: str, reason: str) -> None:
        """A container ended by itself outside an invocation; `reason` is `exited` or `oom`."""
        ...

    def lines_printed(
        self, vm_id: str, container: str, invocation_id: str, stream: str, lines: Sequence[str], dropped: int
    ) -> None:
        """A container printed lines on `stdout` or `stderr`, after `dropped` others that were lost.

        `invocation_id` is empty for what was printed while loading code.
        """
        ...


@dataclass(frozen=True, slots=True)
class VmSettings:
    """What the layer of virtual machines can be told."""

    host_id: str
    """The host's id, the same after a restart. Domains of other ids are never touched."""
    state_dir: Path
    """Holds `channels/`, `consoles/`, `shares/`, `templates/`, `code/` and `accelerator.json`. The path is at most 77
    bytes long."""
    images_dir: Path
    """Holds guest images."""
    image: str = ""
    """The id of the image to use; empty for the one that was built last."""
    libvirt_uri: str = "qemu:///system"
    accelerator: str = "auto"
    """`auto` lets the canary decide; `kvm` and `qemu` are taken without asking it."""
    create_timeout_s: float = 120.0
    """How long making a VM may take, in seconds, from the order to its guest's answer."""
    max_creating: int = 2
    """How many VMs are booted at once, and how many cloned; more wait, within `create_timeout_s`."""
    clone_timeout_s: float = 30.0
    """How long a clone may take to answer, in seconds, before its template counts as broken and the VM is booted."""
    template_shapes: tuple[Shape, ...] = ()
    """The shapes of which templates are made at start-up. Of others they are made when one is first asked for."""
    templates_mib: int = 4096
    """How much disk templates may take, in MiB; 0 for none, so that all VMs are booted."""
    adopt_timeout_s: float = 8.0
    """How long a VM found at start-up has to answer, in seconds, before it is destroyed."""
    unreachable_s: float = 60.0
    """How long a guest may be silent, in seconds, before its VM is destroyed."""
