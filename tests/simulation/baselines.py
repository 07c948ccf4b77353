"""What Stoker is measured against: the same scheduler and hosts, told to do what simpler platforms do.

A policy has one knob, whose values are swept for the curves. The first value is the one that is meant.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stoker_scheduler.config import SchedulerSettings


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to decide how many VMs wait, and how long what is idle is kept."""

    name: str
    knob: str
    """What the values say, with its unit."""
    values: tuple[float, ...]
    settings: Callable[[float], SchedulerSettings]


def _stoker(percent: float) -> SchedulerSettings:
    # In a fleet of many hosts the pool is what demand wants: no host needs one of its own.
    return SchedulerSettings(warming_probability=percent / 100, warming_vms=0)


def _fixed_keep_alive(container_idle_s: float) -> SchedulerSettings:
    return _fixed(container_idle_s, vms_per_host=0)


def _fixed_pool(vms_per_host: float) -> SchedulerSettings:
    return _fixed(600.0, vms_per_host=round(vms_per_host))


def _fixed(container_idle_s: float, vms_per_host: int) -> SchedulerSettings:
    return SchedulerSettings(
        container_idle_s=container_idle_s,
        container_idle_least_s=container_idle_s,
        container_idle_most_s=container_idle_s,
        warming_vms=vms_per_host,
        warming_vms_most=vms_per_host,
    )


POLICIES = (
    Policy("Stoker", "demands that find a VM, %", (99.5, 80.0, 95.0, 99.9, 99.99), _stoker),
    Policy("fixed keep-alive, no pool", "keep-alive, s", (600.0, 60.0, 150.0, 300.0, 1200.0), _fixed_keep_alive),
    Policy("fixed pool, fixed keep-alive", "VMs a host", (1.0, 2.0, 3.0), _fixed_pool),
)
STOKER, *BASELINES = (policy.name for policy in POLICIES)
