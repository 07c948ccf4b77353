"""What may be asked of VMs, and which VMs of an earlier host agent are taken over. Pure."""

from stoker_hostagent import vm_errors
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.vm import VM_ID, Shape, VmState

MAX_VCPUS = 64
MIN_MEMORY_MIB = 128
MAX_MEMORY_MIB = 262_144


def check_vm_id(vm_id: str) -> None:
    """Checks an id that becomes part of paths.

    Raises:
        StokerError: VM_ID_INVALID.
    """
    if not VM_ID.fullmatch(vm_id):
        raise vm_errors.vm_id_invalid(vm_id)


def check_shape(shape: Shape) -> None:
    """Checks a shape.

    Raises:
        StokerError: SHAPE_INVALID.
    """
    if not 1 <= shape.vcpus <= MAX_VCPUS:
        raise vm_errors.shape_invalid("shape.vcpus", f"{shape.vcpus} vCPUs; a VM has 1 to {MAX_VCPUS}")
    if not MIN_MEMORY_MIB <= shape.memory_mib <= MAX_MEMORY_MIB:
        raise vm_errors.shape_invalid(
            "shape.memory_mib", f"{shape.memory_mib} MiB; a VM has {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB}"
        )


def is_adoptable(record: VmRecord, image_id: str) -> bool:
    """Whether a running VM is worth taking over.

    A VM in the middle of a step is not, because nobody knows how far that step came. One without a tenant that was
    booted from another image is not, because a new one serves better; one with a tenant keeps what it has loaded.
    """
    match record.state:
        case VmState.WARMING:
            return not record.tenant and record.image_id == image_id
        case VmState.ACTIVE:
            return bool(record.tenant)
        case VmState.CREATING | VmState.ASSIGNING | VmState.ENDING:
            return False
