"""The services that the scheduler answers: translate, call, translate back."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from stoker_protos.admin.v1 import fleet_pb2, fleet_pb2_grpc
from stoker_protos.scheduler.v1 import (
    capacity_pb2,
    capacity_pb2_grpc,
    hosts_pb2,
    hosts_pb2_grpc,
    preparations_pb2,
    preparations_pb2_grpc,
)
from stoker_protos.v1 import invocations_pb2
from stoker_service.deadlines import remaining_s
from stoker_service.metadata import Context

from stoker_scheduler import wire
from stoker_scheduler.callers import Grant, Start
from stoker_scheduler.capacity import Capacity
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.host_streams import HostListener, HostStreams
from stoker_scheduler.lease_keeper import LeaseKeeper
from stoker_scheduler.machines import Demand
from stoker_scheduler.preparing import likely_hosts
from stoker_scheduler.prewarming import Prewarming


class CapacityServicer(capacity_pb2_grpc.CapacityServiceServicer):
    """Serves `stoker.scheduler.v1.CapacityService`."""

    def __init__(self, capacity: Capacity, leases: LeaseKeeper, fleet: Fleet) -> None:
        self._capacity = capacity
        self._leases = leases
        self._fleet = fleet

    async def AcquireContainer(
        self, request: capacity_pb2.AcquireContainerRequest, context: Context
    ) -> capacity_pb2.AcquireContainerResponse:
        """Leases a container."""
        demand = Demand(
            wire.version_from_proto(request.spec),
            request.holder,
            tuple(request.replaces),
            is_in_background=request.in_background or request.only_idle,
        )
        acquire = self._capacity.acquire_idle if request.only_idle else self._capacity.acquire
        answer = await acquire(demand, remaining_s(context))
        if answer is None:
            return capacity_pb2.AcquireContainerResponse()
        if not isinstance(answer, Grant):
            return capacity_pb2.AcquireContainerResponse(
                start=_start(Start.COLD), init_ms=answer.init_ms, load_error=wire.failure_to_proto(answer)
            )
        lease = capacity_pb2.Lease(
            id=answer.lease.id,
            ttl_ms=_milliseconds(answer.ttl_s),
            container=answer.lease.container,
            vm=answer.vm,
            host=answer.host.id,
            host_address=answer.host.address,
            concurrency=answer.lease.concurrency,
        )
        return capacity_pb2.AcquireContainerResponse(lease=lease, start=_start(answer.start), init_ms=answer.init_ms)

    async def ReleaseContainer(
        self, request: capacity_pb2.ReleaseContainerRequest, context: Context
    ) -> capacity_pb2.ReleaseContainerResponse:
        """Gives a lease back."""
        self._leases.release(request.lease_id, is_broken=request.broken)
        return capacity_pb2.ReleaseContainerResponse()

    async def RenewLeases(
        self, request: capacity_pb2.RenewLeasesRequest, context: Context
    ) -> capacity_pb2.RenewLeasesResponse:
        """Prolongs leases."""
        ended = self._leases.renew(request.lease_ids)
        return capacity_pb2.RenewLeasesResponse(ended_lease_ids=ended, ttl_ms=_milliseconds(self._leases.ttl_s))

    async def GetUsage(self, request: capacity_pb2.GetUsageRequest, context: Context) -> capacity_pb2.GetUsageResponse:
        """Counts a function's containers."""
        function = (request.tenant, request.function)
        return wire.usage_to_proto(self._fleet.lists.of_function(function), self._capacity.waiting_for(function))

    async def ListHosts(
        self, request: capacity_pb2.ListHostsRequest, context: Context
    ) -> capacity_pb2.ListHostsResponse:
        """Lists the connected hosts."""
        return capacity_pb2.ListHostsResponse(hosts=[wire.listed_host(host) for host in self._fleet.hosts])


class PreparationServicer(preparations_pb2_grpc.PreparationServiceServicer):
    """Serves `stoker.scheduler.v1.PreparationService`."""

    def __init__(self, fleet: Fleet, prewarming: Prewarming, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._prewarming = prewarming
        self._clock = clock

    async def ChooseHosts(
        self, request: preparations_pb2.ChooseHostsRequest, context: Context
    ) -> preparations_pb2.ChooseHostsResponse:
        """Names the hosts on which a tenant's containers would come."""
        hosts = likely_hosts(self._fleet, request.tenant, request.memory_mib, request.spare_hosts)
        return preparations_pb2.ChooseHostsResponse(hosts=hosts)

    async def Prewarm(
        self, request: preparations_pb2.PrewarmRequest, context: Context
    ) -> preparations_pb2.PrewarmResponse:
        """Has containers of a version loaded."""
        self._prewarming.wish(wire.version_from_proto(request.spec), request.containers, self._clock())
        return preparations_pb2.PrewarmResponse()


class HostServicer(hosts_pb2_grpc.HostServiceServicer):
    """Serves `stoker.scheduler.v1.HostService`."""

    def __init__(self, streams: HostStreams, listener: HostListener) -> None:
        self._streams = streams
        self._listener = listener

    async def Connect(
        self, request_iterator: AsyncIterator[hosts_pb2.ConnectRequest], context: Context
    ) -> AsyncIterator[hosts_pb2.ConnectResponse]:
        """Serves one host's stream."""
        async with aclosing(self._streams.serve(request_iterator, self._listener)) as commands:
            async for command in commands:
                yield command


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Serves `stoker.admin.v1.FleetService`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def GetFleet(self, request: fleet_pb2.GetFleetRequest, context: Context) -> fleet_pb2.GetFleetResponse:
        """Returns all hosts, VMs and containers."""
        return fleet_pb2.GetFleetResponse(
            hosts=[wire.host_to_proto(host) for host in self._fleet.hosts],
            vms=[wire.vm_to_proto(vm) for vm in self._fleet.vms],
            containers=[wire.container_to_proto(container) for container in self._fleet.containers],
        )


def _start(start: Start) -> invocations_pb2.StartKind.ValueType:
    return invocations_pb2.StartKind.ValueType(start)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
