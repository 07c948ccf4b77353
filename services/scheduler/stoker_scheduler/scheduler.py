"""The scheduler: its core, behind a server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
from stoker_protos.admin.v1 import fleet_pb2, fleet_pb2_grpc
from stoker_protos.scheduler.v1 import (
    capacity_pb2,
    capacity_pb2_grpc,
    hosts_pb2,
    hosts_pb2_grpc,
    preparations_pb2,
    preparations_pb2_grpc,
)
from stoker_service.background import background
from stoker_service.channels import open_channel
from stoker_service.server import Server, running_server

from stoker_scheduler.codestore import keep_targets
from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.core import start_core
from stoker_scheduler.service import CapacityServicer, FleetServicer, HostServicer, PreparationServicer

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The largest message: a snapshot of a host with 10,000 containers, each with a large environment, fits."""

_SERVICES = (
    capacity_pb2.DESCRIPTOR.services_by_name["CapacityService"],
    hosts_pb2.DESCRIPTOR.services_by_name["HostService"],
    preparations_pb2.DESCRIPTOR.services_by_name["PreparationService"],
    fleet_pb2.DESCRIPTOR.services_by_name["FleetService"],
)


@asynccontextmanager
async def running_scheduler(settings: SchedulerSettings) -> AsyncGenerator[Server]:
    """Runs the scheduler for as long as the context is entered.

    Raises:
        AddressInUse: The address cannot be listened on.
    """
    async with AsyncExitStack() as channels, background() as tasks:
        core = start_core(settings, tasks)
        if settings.codestore_address:
            channel = await channels.enter_async_context(open_channel(settings.codestore_address))
            tasks.start(keep_targets(channel, core.targets), "watch the codestore")

        def register(server: grpc.aio.Server) -> None:
            capacity = CapacityServicer(core.capacity, core.leases, core.fleet)
            capacity_pb2_grpc.add_CapacityServiceServicer_to_server(capacity, server)
            hosts_pb2_grpc.add_HostServiceServicer_to_server(HostServicer(core.streams, core.reports), server)
            preparation = PreparationServicer(core.fleet, core.prewarming, asyncio.get_running_loop().time)
            preparations_pb2_grpc.add_PreparationServiceServicer_to_server(preparation, server)
            fleet_pb2_grpc.add_FleetServiceServicer_to_server(FleetServicer(core.fleet), server)

        names = [service.full_name for service in _SERVICES]
        async with running_server(settings, register, names, max_message_bytes=MAX_MESSAGE_BYTES) as server:
            try:
                yield server
            finally:
                # Whoever waits, and every host, connects again: to wait for them would only delay that.
                core.capacity.stop()
                core.streams.close()
