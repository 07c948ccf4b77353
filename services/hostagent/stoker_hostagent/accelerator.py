"""What runs the guests' instructions: KVM where it really works, else QEMU's own emulation (TCG)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs guests on this host."""

    kind: str
    """`kvm` or `qemu`, as libvirt's domain type."""
    reason: str
    """Why it is that one, for a person."""
    disabled_cpu_features: tuple[str, ...] = ()
    """Features of the host's CPU that guests must do without."""
