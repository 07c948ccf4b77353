"""How many VMs wait without a tenant, so that a demand finds one that only has to be given its tenant.

A VM that a demand takes is replaced by one that takes a while to make: its lead time. Meanwhile further demands come.
With `size` VMs, waiting or being made, a demand finds one exactly if fewer than `size` others came within the lead time
before it. (This is the base-stock policy with one-for-one replenishment of Feeney and Sherbrooke, "The (S-1, S)
inventory policy under compound Poisson demand", Management Science 1966, which rests on Palm's theorem: what is being
made at any time has a Poisson distribution whose mean is rate times lead time, however the lead times are distributed.)
So the pool is the least size for which the probability of fewer demands than that in one lead time is the wanted one.
That probability is the newsvendor's critical ratio: what one boot avoided is worth, over that and what a VM that waits
costs.

Demands that come in bursts have more variance than a Poisson process; then it is the negative binomial distribution
with that variance (Feeney and Sherbrooke's compound Poisson). How many come, and how much they vary, tells
`demand_trend.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import exp, log1p, sqrt
from statistics import NormalDist

from stoker_scheduler.demand_trend import Trend
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import Shape, Vm, VmState

MANY = 400.0
"""From so many expected demands on the distributions are as good as normal."""
RARE_PER_S = 1.0 / 3600
"""For fewer demands than one in an hour nothing is kept beyond the floor."""
SLACK = 0.25
"""By which part the pool may be larger than it has to be before a VM of it ends, so that it does not swing."""


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """How large the warming pool may be, and how fast it is filled."""

    vms_per_host: int
    """How many VMs of the default shape are kept without a tenant on each host, whatever the demand."""
    creations_per_host: int
    """How many VMs a host creates at once, for the pool or for a tenant, before the pool adds one."""
    most_per_host: int = 0
    """How many there are on each host at the most, of all shapes; no more than `vms_per_host` where that is larger."""
    probability: float = 0.95
    """With which probability a demand is to find one."""
    creations_at_once: int = 50
    """How many VMs the pool adds in the whole fleet at one time."""


def wanted_size(trend: Trend, lead_s: float, probability: float) -> int:
    """How many VMs to have, waiting or being made, so that a demand finds one with a probability.

    Args:
        trend: How demands for VMs of this shape come.
        lead_s: How long it takes to replace one, in seconds.
        probability: The wanted probability, above 0 and below 1.
    """
    if trend.rate_per_s < RARE_PER_S:
        return 0
    mean, variance = trend.within(lead_s)
    return 1 + quantile(mean, variance, probability)


def quantile(mean: float, variance: float, probability: float) -> int:
    """The least number that so many demands or fewer come with a probability.

    Their number is Poisson distributed, or, where the variance is greater than the mean, negative binomially.
    """
    if mean <= 0:
        return 0
    if mean > MANY:
        return max(0, round(mean + NormalDist().inv_cdf(probability) * sqrt(max(mean, variance))))
    is_bursty = variance > 1.0001 * mean
    size = mean * mean / (variance - mean) if is_bursty else 0.0
    # Each term of either distribution follows from the one before.
    term = exp(-size * log1p(mean / size)) if is_bursty else exp(-mean)
    total, number = term, 0
    most = mean + 40 * sqrt(max(mean, variance)) + 40
    while total < probability and number < most:
        term *= (number + size) * mean / ((size + mean) * (number + 1)) if is_bursty else mean / (number + 1)
        number += 1
        total += term
    return number


def creations(fleet: Fleet, policy: PoolPolicy, wanted: Mapping[Shape, int]) -> list[tuple[str, Shape]]:
    """Which hosts should begin to create a VM for the pool now, and of which shape.

    First each host gets what it has at the least, then those that have most room get what is wanted beyond that.

    Args:
        fleet: The fleet.
        policy: The bounds.
        wanted: How many VMs to have of each shape in the whole fleet.
    """
    default, memory = fleet.default_shape, fleet.memory
    begun: list[tuple[str, Shape]] = []
    begun_on: dict[str, int] = {}
    free_mib = {host: free for free, host in fleet.room.hosts_with_most_first()}

    def may_begin(host: str, shape: Shape) -> bool:
        under_way = memory.creating(host) + begun_on.get(host, 0)
        return under_way < policy.creations_per_host and free_mib[host] >= shape.memory_mib

    def begin(host: str, shape: Shape) -> None:
        begun.append((host, shape))
        begun_on[host] = begun_on.get(host, 0) + 1
        free_mib[host] -= shape.memory_mib

    for host in free_mib if policy.vms_per_host else ():
        while memory.pooled(host, default) + begun_on.get(host, 0) < policy.vms_per_host and may_begin(host, default):
            if len(begun) >= policy.creations_at_once:
                return begun
            begin(host, default)
    for shape, size in wanted.items():
        missing = size - memory.pooled_in_all(shape) - (len(begun) if shape == default else 0)
        missing = min(missing, policy.creations_at_once - len(begun))
        if missing <= 0:
            continue
        roomy = [(-free, host) for host, free in free_mib.items()]
        heapify(roomy)
        while missing > 0 and roomy:
            host = roomy[0][1]
            pooled = sum(memory.pooled(host, other) for other in {default, *wanted}) + begun_on.get(host, 0)
            if pooled < max(policy.most_per_host, policy.vms_per_host) and may_begin(host, shape):
                begin(host, shape)
                missing -= 1
                heapreplace(roomy, (-free_mib[host], host))
            else:
                heappop(roomy)
    return begun


def surplus(fleet: Fleet, policy: PoolPolicy, wanted: Mapping[Shape, int]) -> list[str]:
    """Which VMs of the pool should end because far fewer are wanted: one of each shape at the most.

    It is on the host that has the least room, so that room comes where there is little.
    """
    ending: list[str] = []
    for shape in fleet.memory.pooled_shapes():
        size = wanted.get(shape, 0)
        if fleet.memory.pooled_in_all(shape) <= size + max(1, round(size * SLACK)):
            continue
        least = policy.vms_per_host if shape == fleet.default_shape else 0
        if vm := next(_endable(fleet, shape, least), None):
            ending.append(vm.id)
    return ending


def _endable(fleet: Fleet, shape: Shape, least_per_host: int) -> Iterator[Vm]:
    """The VMs of the pool that no host needs for its least number, on the hosts with the least room first."""
    for _, host in reversed(list(fleet.room.hosts_with_most_first())):
        if fleet.memory.pooled(host, shape) > least_per_host:
            yield from (
                vm for vm in fleet.vms_on(host) if vm.state is VmState.WARMING and not vm.tenant and vm.shape == shape
            )
