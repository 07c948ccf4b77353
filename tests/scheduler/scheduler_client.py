"""A running scheduler, as its clients see it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from stoker_protos.admin.v1 import fleet_pb2, fleet_pb2_grpc
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import capacity_pb2, capacity_pb2_grpc
from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.scheduler import running_scheduler
from stoker_service.channels import open_channel
from stoker_service.errors import StokerError
from stoker_service.status import error_from_rpc

from tests.scheduler.scripted_host import WAIT_S
from tests.scheduler.values import RESERVE_MIB


class SchedulerClient:
    """Calls a scheduler as frontends and operators do."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._capacity = capacity_pb2_grpc.CapacityServiceStub(channel)
        self._fleet = fleet_pb2_grpc.FleetServiceStub(channel)

    def acquire(
        self, spec: codestore_pb2.VersionSpec, holder: str = "f1", wait_s: float = WAIT_S, **more: Any
    ) -> "grpc.aio.UnaryUnaryCall[Any, capacity_pb2.AcquireContainerResponse]":
        """Asks for a container, at once; the call can be awaited or cancelled."""
        request = capacity_pb2.AcquireContainerRequest(spec=spec, holder=holder, **more)
        return self._capacity.AcquireContainer(request, timeout=wait_s, wait_for_ready=True)

    async def refusal(self, spec: codestore_pb2.VersionSpec, wait_s: float = WAIT_S) -> StokerError:
        """The error with which a demand fails."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.acquire(spec, wait_s=wait_s)
        return error_from_rpc(caught.value)

    async def release(self, lease: capacity_pb2.Lease, *, broken: bool = False) -> None:
        request = capacity_pb2.ReleaseContainerRequest(lease_id=lease.id, broken=broken)
        await self._capacity.ReleaseContainer(request, timeout=WAIT_S)

    async def renew(self, *lease_ids: str) -> list[str]:
        """Prolongs leases; returns those that have ended."""
        request = capacity_pb2.RenewLeasesRequest(lease_ids=lease_ids)
        return list((await self._capacity.RenewLeases(request, timeout=WAIT_S)).ended_lease_ids)

    async def usage(self, function: str = "hello", tenant: str = "acme") -> capacity_pb2.GetUsageResponse:
        request = capacity_pb2.GetUsageRequest(tenant=tenant, function=function)
        return await self._capacity.GetUsage(request, timeout=WAIT_S)

    async def hosts(self) -> list[str]:
        response = await self._capacity.ListHosts(capacity_pb2.ListHostsRequest(), timeout=WAIT_S)
        return [f"{host.id} {host.address}" for host in response.hosts]

    async def fleet(self) -> fleet_pb2.GetFleetResponse:
        return await self._fleet.GetFleet(fleet_pb2.GetFleetRequest(), timeout=WAIT_S)

    async def until(self, is_so: Callable[[fleet_pb2.GetFleetResponse], bool]) -> fleet_pb2.GetFleetResponse:
        """The fleet, as soon as it is as it should become."""
        async with asyncio.timeout(WAIT_S):
            while not is_so(fleet := await self.fleet()):
                pass
            return fleet

    async def container_states(self) -> dict[str, str]:
        """The state of each container."""
        return {container.id: container.state for container in (await self.fleet()).containers}


def settings_of(**settings: Any) -> SchedulerSettings:
    """Settings without a warming pool, and with frequent upkeep, unless they are told otherwise."""
    told = {
        "listen_address": "127.0.0.1:0",
        "drain_s": 1.0,
        "recovery_s": 0.0,
        "codestore_address": "",
        "warming_vms": 0,
        "warming_vms_most": 0,
        "vm_reserve_mib": RESERVE_MIB,
        "upkeep_interval_s": 0.02,
    }
    return SchedulerSettings.model_validate(told | settings)


@asynccontextmanager
async def a_scheduler(**settings: Any) -> AsyncGenerator[SchedulerClient]:
    """A scheduler with such settings, and a client of it."""
    async with running_scheduler(settings_of(**settings)) as server, open_channel(server.address) as channel:
        yield SchedulerClient(channel)
