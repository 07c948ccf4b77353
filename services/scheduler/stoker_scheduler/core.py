"""The scheduler without its server: all that decides, put together and running.

The simulator runs this too, so nothing here listens, and time comes from the event loop alone.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from stoker_service.background import Background

from stoker_scheduler.capacity import Capacity, Limits
from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.containers import Containers
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.host_streams import HostStreams
from stoker_scheduler.idle_times import KeepAlivePolicy
from stoker_scheduler.keep_alive import KeepAlive
from stoker_scheduler.lease_keeper import LeaseKeeper
from stoker_scheduler.leases import LeaseTable
from stoker_scheduler.limits import Admission, TenantLimits, Usage
from stoker_scheduler.machines import Shape
from stoker_scheduler.prewarming import Prewarming
from stoker_scheduler.provisioning import Provisioning
from stoker_scheduler.replacing import Replacing
from stoker_scheduler.reports import Reports
from stoker_scheduler.targets import Targets
from stoker_scheduler.upkeep import Policies, Upkeep
from stoker_scheduler.vms import Timeouts, Vms
from stoker_scheduler.waiting import Waiting
from stoker_scheduler.warming_pool import PoolPolicy


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that the edges talk to."""

    fleet: Fleet
    dispatcher: Dispatcher
    capacity: Capacity
    leases: LeaseKeeper
    streams: HostStreams
    reports: Reports
    targets: Targets
    prewarming: Prewarming


def random_id(prefix: str) -> str:
    """An id that begins as it is told, and that nothing else has."""
    return prefix + secrets.token_hex(6)


def start_core(settings: SchedulerSettings, tasks: Background, new_id: Callable[[str], str] = random_id) -> Core:
    """Puts the parts together, and starts what runs all the time.

    Args:
        settings: The settings.
        tasks: What owns all that is started.
        new_id: Makes an id that begins as it is told.
    """
    clock = asyncio.get_running_loop().time
    recovered_s = clock() + settings.recovery_s
    timeouts = Timeouts(settings.vm_timeout_s, settings.container_timeout_s, settings.command_timeout_s)
    # What has changed in the fleet may be what somebody waits for.
    keep_alive = KeepAlive(_keep_alive_policy(settings))
    fleet = Fleet(
        Shape(settings.vm_vcpus, settings.vm_memory_mib),
        settings.vm_reserve_mib,
        lambda: capacity.look_again(),
        containers_per_vcpu=settings.containers_per_vcpu,
        idled=keep_alive.idled,
    )
    waiting = Waiting(settings.max_waiting, settings.max_waiting_per_tenant, settings.tenant_weights)
    dispatcher = Dispatcher(fleet, waiting, new_id, overtaken_s=settings.overtaken_s, wanted=keep_alive.wanted)
    usage, targets = Usage(), Targets()
    leases = LeaseTable(settings.lease_ttl_s, usage)
    streams = HostStreams(tasks, clock)
    vms = Vms(fleet, streams, tasks, timeouts, clock, dispatcher.lead_times)
    containers = Containers(fleet, streams, vms, tasks, timeouts, clock)
    keeper = LeaseKeeper(leases, fleet, containers, clock, recovered_s)
    tenant_limits = TenantLimits(settings.tenant_invocations, settings.tenant_invocations_of)
    admission = Admission(usage, tenant_limits, lambda function: targets.of(function).maximum)
    limits = Limits(settings.max_wait_s, settings.max_attempts, recovered_s)
    replacing = Replacing()
    capacity = Capacity(dispatcher, keeper, vms, containers, tasks, admission, replacing, limits, clock)
    prewarming = Prewarming(dispatcher)
    provisioning = Provisioning(dispatcher, targets)
    upkeep = Upkeep(
        dispatcher,
        keeper,
        vms,
        containers,
        capacity,
        tasks,
        policies=Policies(
            keep_alive, replacing, settings.vm_idle_s, _pool_policy(settings), targets, provisioning, prewarming
        ),
        timeouts=timeouts,
        clock=clock,
    )
    tasks.start(capacity.run(), "serve those who wait")
    tasks.start(upkeep.run(settings.upkeep_interval_s), "upkeep")
    return Core(fleet, dispatcher, capacity, keeper, streams, Reports(fleet, leases, containers), targets, prewarming)


def _keep_alive_policy(settings: SchedulerSettings) -> KeepAlivePolicy:
    standard_s = settings.container_idle_s
    return KeepAlivePolicy(
        standard_s, min(standard_s, settings.container_idle_least_s), max(standard_s, settings.container_idle_most_s)
    )


def _pool_policy(settings: SchedulerSettings) -> PoolPolicy:
    return PoolPolicy(
        settings.warming_vms,
        settings.max_creating_vms,
        settings.warming_vms_most,
        settings.warming_probability,
        settings.warming_creations,
    )
