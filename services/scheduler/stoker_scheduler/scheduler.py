"""The scheduler, put together from its parts."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import grpc.aio
from stoker_protos.admin.v1 import fleet_pb2, fleet_pb2_grpc
from stoker_protos.scheduler.v1 import capacity_pb2, capacity_pb2_grpc, hosts_pb2, hosts_pb2_grpc
from stoker_service.background import background
from stoker_service.server import Server, running_server

from stoker_scheduler.capacity import Capacity, Limits
from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.containers import Containers
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.host_streams import HostStreams
from stoker_scheduler.lease_keeper import LeaseKeeper
from stoker_scheduler.leases import LeaseTable
from stoker_scheduler.machines import Shape
from stoker_scheduler.reports import Reports
from stoker_scheduler.service import CapacityServicer, FleetServicer, HostServicer
from stoker_scheduler.upkeep import KeepAlive, Upkeep
from stoker_scheduler.vms import Timeouts, Vms
from stoker_scheduler.waiting import Waiting
from stoker_scheduler.warming_pool import PoolPolicy

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The largest message: a snapshot of a host with 10,000 containers, each with a large environment, fits."""

_SERVICES = (
    capacity_pb2.DESCRIPTOR.services_by_name["CapacityService"],
    hosts_pb2.DESCRIPTOR.services_by_name["HostService"],
    fleet_pb2.DESCRIPTOR.services_by_name["FleetService"],
)


@asynccontextmanager
async def running_scheduler(settings: SchedulerSettings) -> AsyncGenerator[Server]:
    """Runs the scheduler for as long as the context is entered.

    Raises:
        AddressInUse: The address cannot be listened on.
    """
    clock = asyncio.get_running_loop().time
    recovered_s = clock() + settings.recovery_s
    timeouts = Timeouts(settings.vm_timeout_s, settings.container_timeout_s, settings.command_timeout_s)
    async with background() as tasks:
        # What has changed in the fleet may be what somebody waits for.
        fleet = Fleet(
            Shape(settings.vm_vcpus, settings.vm_memory_mib), settings.vm_reserve_mib, lambda: capacity.look_again()
        )
        waiting = Waiting(settings.max_waiting, settings.max_waiting_per_tenant)
        dispatcher = Dispatcher(fleet, waiting, lambda prefix: prefix + secrets.token_hex(6))
        leases = LeaseTable(settings.lease_ttl_s)
        streams = HostStreams(tasks, clock)
        vms = Vms(fleet, streams, tasks, timeouts, clock)
        containers = Containers(fleet, streams, vms, tasks, timeouts, clock)
        keeper = LeaseKeeper(leases, fleet, containers, clock, recovered_s)
        limits = Limits(settings.max_wait_s, settings.max_attempts, recovered_s)
        capacity = Capacity(dispatcher, keeper, vms, containers, tasks, limits, clock)
        upkeep = Upkeep(
            dispatcher,
            keeper,
            vms,
            containers,
            keep_alive=KeepAlive(settings.container_idle_s, settings.vm_idle_s),
            pool=PoolPolicy(settings.warming_vms, settings.max_creating_vms),
            timeouts=timeouts,
            clock=clock,
        )
        tasks.start(capacity.run(), "serve those who wait")
        tasks.start(upkeep.run(settings.upkeep_interval_s, capacity.look_again), "upkeep")

        def register(server: grpc.aio.Server) -> None:
            capacity_pb2_grpc.add_CapacityServiceServicer_to_server(CapacityServicer(capacity, keeper, fleet), server)
            reports = Reports(fleet, leases, containers)
            hosts_pb2_grpc.add_HostServiceServicer_to_server(HostServicer(streams, reports), server)
            fleet_pb2_grpc.add_FleetServiceServicer_to_server(FleetServicer(fleet), server)

        names = [service.full_name for service in _SERVICES]
        async with running_server(settings, register, names, max_message_bytes=MAX_MESSAGE_BYTES) as server:
            try:
                yield server
            finally:
                # Whoever waits, and every host, connects again: to wait for them would only delay that.
                capacity.stop()
                streams.close()
