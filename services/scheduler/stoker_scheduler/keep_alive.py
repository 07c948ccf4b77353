"""How long what nobody uses is kept. What makes way before that because its memory is needed: see `eviction.py`."""

from dataclasses import dataclass
from itertools import takewhile

from stoker_scheduler.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Ending:
    """Containers and VMs to destroy."""

    containers: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()


def too_old(fleet: Fleet, now_s: float, *, container_idle_s: float, vm_idle_s: float) -> Ending:
    """What has been kept for long enough: containers idle, and tenants' VMs without containers."""
    containers = takewhile(lambda idle: now_s - idle.since_s > container_idle_s, fleet.lists.idle_longest_first())
    vms = takewhile(lambda empty: now_s - empty[1] > vm_idle_s, fleet.empty_longest_first())
    return Ending(tuple(container.id for container in containers), tuple(vm.id for vm, _ in vms))
