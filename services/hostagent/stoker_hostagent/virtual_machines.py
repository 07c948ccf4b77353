"""The VMs of this host, from their making to their end."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.guest import Guest
from stoker_hostagent.vm import Shape, Vm, VmListener, VmSettings


class VirtualMachines:
    """All VMs of this host. Operations on one VM follow each other; those on several VMs run at the same time."""

    @property
    def accelerator(self) -> Accelerator:
        """What runs the VMs, and why."""
        raise NotImplementedError

    async def adopt(self, listener: VmListener) -> Sequence[Vm]:
        """Takes over the VMs that an earlier host agent of this host left, and destroys those that are of no use.

        Call it once, before anything else. Its result is what `listener` is not told; from then on it is told all.

        Raises:
            StokerError: HYPERVISOR_UNAVAILABLE.
        """
        raise NotImplementedError

    async def create(self, vm_id: str, shape: Shape) -> Vm:
        """Makes a VM without a tenant and returns it when its guest has answered. One that is there already will do.

        Raises:
            StokerError: VM_ID_INVALID, SHAPE_INVALID, VM_EXISTS (of another shape), VM_ENDING, VM_CREATE_FAILED,
                HYPERVISOR_UNAVAILABLE; nothing is left of the VM then, unless it was there before.
        """
        raise NotImplementedError

    async def assign(self, vm_id: str, tenant: str) -> Vm:
        """Gives a VM to a tenant, for good, with the tenant's code as share `code`. One already the tenant's will do.

        Raises:
            StokerError: VM_NOT_FOUND, VM_NOT_READY, VM_ENDING, VM_TAKEN (it is another tenant's), VM_ASSIGN_FAILED
                (it is destroyed then).
        """
        raise NotImplementedError

    async def destroy(self, vm_id: str) -> None:
        """Destroys a VM and removes all it left, also in the middle of its making. An unknown VM is no error.

        Raises:
            StokerError: HYPERVISOR_UNAVAILABLE; the VM is ENDING then, and is destroyed when libvirt is back.
        """
        raise NotImplementedError

    def guest(self, vm_id: str) -> Guest:
        """The guest agent of a VM.

        Raises:
            StokerError: VM_NOT_FOUND.
        """
        raise NotImplementedError

    def all(self) -> Sequence[Vm]:
        """All VMs at this moment."""
        raise NotImplementedError


@asynccontextmanager
async def running_virtual_machines(settings: VmSettings) -> AsyncGenerator[VirtualMachines]:
    """Manages this host's VMs while the context is entered; leaving it leaves them running.

    Raises:
        StokerError: HOST_AGENT_RUNNING (another process manages this state directory), IMAGE_MISSING,
            HYPERVISOR_UNAVAILABLE, STATE_DIR_INVALID.
    """
    raise NotImplementedError
    yield VirtualMachines()
