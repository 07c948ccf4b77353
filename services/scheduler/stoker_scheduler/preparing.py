"""Where a version's containers would come that nobody has called yet, so that its code can be there before.

Everything here is a function of its arguments.
"""

import heapq
from collections import Counter

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import VmState


def likely_hosts(fleet: Fleet, tenant: str, memory_mib: int, spare_hosts: int) -> list[str]:
    """The hosts on which a tenant's containers would come first.

    First those with VMs of the tenant, those with most of them first. Then so many others: the one with the VM that the
    tenant would get next, then those where VMs wait for a tenant, then those with most memory free. It looks at all VMs
    of the fleet; that is for publishing, not for every call.

    Args:
        fleet: The fleet.
        tenant: The tenant.
        memory_mib: The memory of one container.
        spare_hosts: How many hosts without VMs of the tenant are named.
    """
    own: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for vm in fleet.vms:
        if vm.state is VmState.ENDING:
            continue
        if vm.tenant == tenant:
            own[vm.host] += 1
        elif not vm.tenant:
            waiting[vm.host] += 1
    next_vm = fleet.room.warming_vm(memory_mib)
    next_host = fleet.vm(next_vm).host if next_vm else None

    def rank(host: str) -> tuple[bool, bool, int, str]:
        return host != next_host, not waiting[host], -fleet.host_free_mib(host), host

    others = heapq.nsmallest(spare_hosts, (host.id for host in fleet.hosts if host.id not in own), key=rank)
    return [*sorted(own, key=lambda host: (-own[host], host)), *others]
