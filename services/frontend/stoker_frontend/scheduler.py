"""The scheduler, as the frontend asks it."""

from collections.abc import Mapping, Sequence

import grpc
import grpc.aio
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import capacity_pb2, capacity_pb2_grpc
from stoker_service.status import error_from_rpc

from stoker_frontend import errors
from stoker_frontend.concurrency import Usage
from stoker_frontend.lease_pool import Lease
from stoker_frontend.lease_source import Grant, LoadFailure, Renewal
from stoker_frontend.logs import HostAddress
from stoker_frontend.rollover import replaced
from stoker_frontend.routes import Version
from stoker_frontend.runs import Start
from stoker_frontend.wire import failure_from_proto

ANSWER_S = 5.0
"""How long the scheduler may take to answer what does not wait for capacity, in seconds."""


class Scheduler:
    """Leases, hosts, and what functions use."""

    def __init__(self, channel: grpc.aio.Channel, holder: str) -> None:
        self._channel = channel
        self._capacity = capacity_pb2_grpc.CapacityServiceStub(channel)
        self._holder = holder

    def is_away(self) -> bool:
        """Whether there is no connection, although one is wanted."""
        return self._channel.get_state() in (
            grpc.ChannelConnectivity.CONNECTING,
            grpc.ChannelConnectivity.TRANSIENT_FAILURE,
        )

    async def acquire(self, version: Version, wait_s: float) -> Grant | LoadFailure:
        """Leases a container for a version, waiting for the scheduler and for capacity up to `wait_s`.

        Raises:
            StokerError: The scheduler's own, or as gRPC makes them when it is away.
        """
        return self._answer(version, await self._acquire(version, wait_s))

    async def acquire_in_background(self, version: Version, wait_s: float) -> Grant | LoadFailure:
        """Leases a container for which nobody waits, since another version answers meanwhile; raises as `acquire`."""
        return self._answer(version, await self._acquire(version, wait_s, in_background=True))

    async def acquire_idle(self, version: Version) -> Grant | None:
        """Leases a container that is idle now; None where there is none; raises as `acquire`."""
        response = await self._acquire(version, ANSWER_S, only_idle=True)
        answer = self._answer(version, response) if response.HasField("lease") else None
        return answer if isinstance(answer, Grant) else None

    async def _acquire(
        self, version: Version, wait_s: float, *, only_idle: bool = False, in_background: bool = False
    ) -> capacity_pb2.AcquireContainerResponse:
        request = capacity_pb2.AcquireContainerRequest(
            spec=codestore_pb2.VersionSpec.FromString(version.spec),
            holder=self._holder,
            replaces=replaced(version),
            only_idle=only_idle,
            in_background=in_background,
        )
        try:
            return await self._capacity.AcquireContainer(request, timeout=wait_s, wait_for_ready=True)
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure) from failure

    def _answer(self, version: Version, response: capacity_pb2.AcquireContainerResponse) -> Grant | LoadFailure:
        if response.HasField("load_error"):
            return LoadFailure(failure_from_proto(response.load_error), Start(response.start), response.init_ms)
        lease = response.lease
        return Grant(
            Lease(
                lease.id,
                version.uid,
                lease.container,
                lease.vm,
                lease.host,
                lease.host_address,
                min(lease.concurrency or version.concurrency, version.concurrency),
            ),
            Start(response.start),
            response.init_ms,
            lease.ttl_ms / 1000,
        )

    async def release(self, lease_id: str, *, is_broken: bool) -> None:
        """Gives a lease back.

        Raises:
            StokerError: The scheduler is away; the lease then ends by itself.
        """
        request = capacity_pb2.ReleaseContainerRequest(lease_id=lease_id, broken=is_broken)
        try:
            await self._capacity.ReleaseContainer(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure) from failure

    async def renew(self, lease_ids: Sequence[str]) -> Renewal:
        """Prolongs leases, 10,000 at the most.

        Raises:
            StokerError: The scheduler is away.
        """
        try:
            response = await self._capacity.RenewLeases(
                capacity_pb2.RenewLeasesRequest(lease_ids=lease_ids), timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure) from failure
        return Renewal(tuple(response.ended_lease_ids), response.ttl_ms / 1000)

    async def usage(self, tenant: str, function: str) -> Mapping[int, Usage]:
        """The containers of each version of a function that has any.

        Raises:
            StokerError: SCHEDULER_UNAVAILABLE.
        """
        request = capacity_pb2.GetUsageRequest(tenant=tenant, function=function)
        try:
            response = await self._capacity.GetUsage(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise errors.scheduler_unavailable() from failure
        return {each.version: Usage(each.loaded, each.leased) for each in response.versions}

    async def hosts(self) -> list[HostAddress]:
        """The connected hosts.

        Raises:
            StokerError: SCHEDULER_UNAVAILABLE.
        """
        try:
            response = await self._capacity.ListHosts(capacity_pb2.ListHostsRequest(), timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise errors.scheduler_unavailable() from failure
        return [HostAddress(host.id, host.address) for host in response.hosts]
