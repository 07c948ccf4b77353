"""How many VMs boot ahead of time, so that a demand finds one that only has to be given its tenant."""

from dataclasses import dataclass

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import VmState


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """How large the warming pool is on each host."""

    vms_per_host: int
    """How many VMs of the default shape are kept without a tenant."""
    creations_per_host: int
    """How many VMs a host creates at once, for the pool or for a tenant, before the pool adds one."""


def creations(host: str, fleet: Fleet, policy: PoolPolicy) -> int:
    """How many VMs of the default shape a host should begin to create for the warming pool now.

    Those of the pool that still boot count as if they were there, so each is begun once.
    """
    if fleet.room.is_resting(host):
        return 0
    vms = fleet.vms_on(host)
    waiting = sum(
        1
        for vm in vms
        if not vm.tenant and vm.shape == fleet.default_shape and vm.state in (VmState.CREATING, VmState.WARMING)
    )
    creating = sum(1 for vm in vms if vm.state is VmState.CREATING)
    fitting = fleet.host_free_mib(host) // fleet.default_shape.memory_mib
    return max(0, min(policy.vms_per_host - waiting, policy.creations_per_host - creating, fitting))
