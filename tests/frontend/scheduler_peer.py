"""The scheduler, as the frontend sees it."""

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable

import grpc.aio
from stoker_protos.admin.v1 import fleet_pb2, fleet_pb2_grpc
from stoker_protos.scheduler.v1 import capacity_pb2, capacity_pb2_grpc
from stoker_protos.v1 import (
    invocations_pb2,
)
from stoker_service.metadata import Context, metadata_value

from tests.frontend.peers import Journal

Grant = Callable[[capacity_pb2.AcquireContainerRequest], Awaitable[capacity_pb2.AcquireContainerResponse]]


async def grant_none(_request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
    """Lets who asks wait."""
    await asyncio.Event().wait()
    raise AssertionError("nothing ends this wait")


class SchedulerPeer(capacity_pb2_grpc.CapacityServiceServicer, fleet_pb2_grpc.FleetServiceServicer):
    """Grants leases on one host, as many as are asked for, or does what `grant` does."""

    def __init__(self) -> None:
        self.host_address = ""
        self.hosts: dict[str, str] = {}
        self.grant: Grant = self.grant_new
        self.acquired: list[str] = []
        self.requests: list[capacity_pb2.AcquireContainerRequest] = []
        self.waiting = 0
        self.released: list[tuple[str, bool]] = []
        self.renewed: list[list[str]] = []
        self.ended: set[str] = set()
        self.ttl_ms = 30_000
        self.usage: list[capacity_pb2.GetUsageResponse.VersionUsage] = []
        self.traceparents: list[str] = []
        self.journal = Journal()
        self._numbers = itertools.count(1)

    async def grant_new(self, request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
        """A new container."""
        number = next(self._numbers)
        lease = capacity_pb2.Lease(
            id=f"{number:032x}",
            ttl_ms=self.ttl_ms,
            container=f"c-{number:012x}",
            vm=f"vm-{hashlib.sha256(request.spec.tenant.encode()).hexdigest()[:12]}",
            host="host-1",
            host_address=self.host_address,
        )
        return capacity_pb2.AcquireContainerResponse(lease=lease, start=invocations_pb2.START_KIND_COLD, init_ms=1.5)

    async def AcquireContainer(
        self, request: capacity_pb2.AcquireContainerRequest, context: Context
    ) -> capacity_pb2.AcquireContainerResponse:
        self.traceparents.append(metadata_value(context, "traceparent"))
        self.acquired.append(request.spec.uid)
        self.requests.append(request)
        self.waiting += 1
        try:
            self.journal.changed()
            return await self.grant(request)
        finally:
            self.waiting -= 1
            self.journal.changed()

    async def ReleaseContainer(
        self, request: capacity_pb2.ReleaseContainerRequest, context: Context
    ) -> capacity_pb2.ReleaseContainerResponse:
        self.released.append((request.lease_id, request.broken))
        self.journal.changed()
        return capacity_pb2.ReleaseContainerResponse()

    async def RenewLeases(
        self, request: capacity_pb2.RenewLeasesRequest, context: Context
    ) -> capacity_pb2.RenewLeasesResponse:
        self.renewed.append(list(request.lease_ids))
        self.journal.changed()
        ended = [lease_id for lease_id in request.lease_ids if lease_id in self.ended]
        return capacity_pb2.RenewLeasesResponse(ended_lease_ids=ended, ttl_ms=self.ttl_ms)

    async def GetUsage(self, request: capacity_pb2.GetUsageRequest, context: Context) -> capacity_pb2.GetUsageResponse:
        return capacity_pb2.GetUsageResponse(versions=self.usage)

    async def ListHosts(
        self, request: capacity_pb2.ListHostsRequest, context: Context
    ) -> capacity_pb2.ListHostsResponse:
        hosts = [capacity_pb2.ListHostsResponse.Host(id=id, address=address) for id, address in self.hosts.items()]
        return capacity_pb2.ListHostsResponse(hosts=hosts)

    async def GetFleet(self, request: fleet_pb2.GetFleetRequest, context: Context) -> fleet_pb2.GetFleetResponse:
        hosts = [fleet_pb2.Host(id=id, address=address) for id, address in self.hosts.items()]
        return fleet_pb2.GetFleetResponse(hosts=hosts)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its services to a server."""
        capacity_pb2_grpc.add_CapacityServiceServicer_to_server(self, server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self, server)
