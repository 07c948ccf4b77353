"""What the layer of virtual machines tells callers when it cannot do what they asked for."""

from pathlib import Path

from stoker_service.errors import ErrorKind, StokerError
from stoker_ttrpc.errors import Code

from stoker_hostagent.vm import Shape

RETRY_SOON_S = 1.0
_REFUSALS = frozenset(Code) - {Code.OK}


def hypervisor_unavailable(message: str) -> StokerError:
    """libvirt cannot be reached, or does not answer."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "HYPERVISOR_UNAVAILABLE",
        f"libvirt is away: {message}; `stoker doctor` says how to start it",
        retry_after_s=RETRY_SOON_S,
    )


def hypervisor_failed(message: str) -> StokerError:
    """libvirt refused."""
    return StokerError(ErrorKind.INTERNAL, "HYPERVISOR_FAILED", f"libvirt: {message}")


def hypervisor_busy() -> StokerError:
    """More calls wait for libvirt than may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "HYPERVISOR_BUSY",
        "too many calls wait for libvirt; try again",
        retry_after_s=RETRY_SOON_S,
    )


def image_missing(images_dir: Path, image_id: str) -> StokerError:
    """No guest image was built, or not the one that is wanted."""
    wanted = f"guest image `{image_id}`" if image_id else "guest image"
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "IMAGE_MISSING",
        f"{images_dir} holds no complete {wanted}; build one: "
        f"python -m stoker_guest_image build --images-dir {images_dir}",
    )


def host_agent_running(state_dir: Path) -> StokerError:
    """Another process manages the VMs of this state directory."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "HOST_AGENT_RUNNING",
        f"another host agent uses {state_dir}; end it first, or give this one another STOKER_HOSTAGENT_STATE_DIR",
    )


def state_dir_invalid(message: str) -> StokerError:
    """The state directory cannot be used."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "STATE_DIR_INVALID",
        f"STOKER_HOSTAGENT_STATE_DIR: {message}",
        field="state_dir",
    )


def vm_id_invalid(vm_id: str) -> StokerError:
    """Not the id of a VM."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "VM_ID_INVALID",
        f"vm: `{vm_id[:64]}` is no id of a VM; one is `vm-` and 12 hexadecimal digits",
        field="vm",
    )


def shape_invalid(field: str, message: str) -> StokerError:
    """A VM cannot have that shape."""
    return StokerError(ErrorKind.INVALID_ARGUMENT, "SHAPE_INVALID", f"{field}: {message}", field=field)


def vm_not_found(vm_id: str) -> StokerError:
    """There is no such VM."""
    return StokerError(ErrorKind.NOT_FOUND, "VM_NOT_FOUND", f"there is no VM `{vm_id}` on this host; create it first")


def vm_exists(vm_id: str, shape: Shape) -> StokerError:
    """There is such a VM, of another shape."""
    return StokerError(
        ErrorKind.ALREADY_EXISTS,
        "VM_EXISTS",
        f"VM `{vm_id}` exists with {shape.vcpus} vCPUs and {shape.memory_mib} MiB; take another id for another shape",
        field="shape",
    )


def vm_ending(vm_id: str) -> StokerError:
    """The VM is being destroyed."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION, "VM_ENDING", f"VM `{vm_id}` is being destroyed; take another, with another id"
    )


def vm_not_ready(vm_id: str) -> StokerError:
    """The VM has not booted yet."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "VM_NOT_READY",
        f"VM `{vm_id}` is still being created; assign it when it is warming",
        retry_after_s=RETRY_SOON_S,
    )


def vm_taken(vm_id: str) -> StokerError:
    """The VM has another tenant."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "VM_TAKEN",
        f"VM `{vm_id}` belongs to another tenant, and does so until it is destroyed; take another VM",
        field="tenant",
    )


def vm_create_failed(vm_id: str, why: str, console: str) -> StokerError:
    """The VM could not be made, or its guest never answered."""
    seen = f"; the last it printed:\n{console}" if console else "; it printed nothing"
    return StokerError(ErrorKind.UNAVAILABLE, "VM_CREATE_FAILED", f"VM `{vm_id}` did not start: {why}{seen}")


def clone_failed(vm_id: str, why: str) -> StokerError:
    """A template could not be given to libvirt."""
    return StokerError(ErrorKind.INTERNAL, "CLONE_FAILED", f"VM `{vm_id}` could not be cloned: {why}")


def vm_assign_failed(vm_id: str, why: str) -> StokerError:
    """The tenant's code could not be brought into the VM."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "VM_ASSIGN_FAILED",
        f"VM `{vm_id}` could not be given to the tenant and is destroyed: {why}; take another VM",
    )


def domain_gone(vm_id: str) -> StokerError:
    """The VM's domain has ended."""
    return StokerError(ErrorKind.UNAVAILABLE, "DOMAIN_GONE", f"VM `{vm_id}` ended by itself; take another VM")


def share_failed(why: str) -> StokerError:
    """A directory could not be mounted or unmounted on the host."""
    return StokerError(ErrorKind.INTERNAL, "SHARE_FAILED", f"a share could not be (un)mounted: {why}")


def guest_unreachable(vm_id: str, why: str) -> StokerError:
    """The guest agent cannot be reached, or did not answer in time."""
    return StokerError(ErrorKind.UNAVAILABLE, "GUEST_UNREACHABLE", f"the guest of VM `{vm_id}` is out of reach: {why}")


def guest_refused(vm_id: str, code: int, message: str) -> StokerError:
    """The guest agent answered with an error."""
    kind = ErrorKind[Code(code).name] if code in _REFUSALS else ErrorKind.UNKNOWN
    return StokerError(kind, f"GUEST_{kind.name}", f"the guest of VM `{vm_id}`: {message}")
