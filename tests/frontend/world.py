"""A frontend that runs, with peers that a test controls."""

import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from stoker_frontend import api_keys
from stoker_frontend.config import FrontendSettings
from stoker_frontend.frontend import MIGRATIONS, running_frontend
from stoker_protos.admin.v1 import fleet_pb2_grpc, tenant_policies_pb2_grpc, tenants_pb2, tenants_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2_grpc,
    concurrency_pb2_grpc,
    functions_pb2_grpc,
    invocations_pb2,
    invocations_pb2_grpc,
    logs_pb2_grpc,
)
from stoker_service.channels import open_channel
from stoker_service.errors import StokerError
from stoker_service.sql import migrate, open_engine
from stoker_service.status import error_from_rpc

from tests.frontend.codestore_peer import CodestorePeer, spec_of
from tests.frontend.host_peer import HostPeer
from tests.frontend.peers import WITHIN_S, Served, serving
from tests.frontend.scheduler_peer import SchedulerPeer

Metadata = tuple[tuple[str, str], ...]


def bearer(key: str) -> Metadata:
    """The metadata that carries a key."""
    return (("authorization", f"Bearer {key}"),)


async def failure_of(call: Any) -> StokerError:
    """The error that a call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from_rpc(caught.value)


@dataclass
class World:
    """The frontend, its peers, and two tenants with a function `hello` each."""

    address: str
    channel: grpc.aio.Channel
    codestore: CodestorePeer
    scheduler: SchedulerPeer
    host: HostPeer
    codestore_server: Served
    scheduler_server: Served
    host_server: Served
    admin: Metadata
    keys: dict[str, Metadata] = field(default_factory=dict[str, Metadata])

    def __post_init__(self) -> None:
        self.invocations = invocations_pb2_grpc.InvocationServiceStub(self.channel)
        self.functions = functions_pb2_grpc.FunctionServiceStub(self.channel)
        self.aliases = aliases_pb2_grpc.AliasServiceStub(self.channel)
        self.concurrency = concurrency_pb2_grpc.ConcurrencyServiceStub(self.channel)
        self.logs = logs_pb2_grpc.LogServiceStub(self.channel)
        self.tenants = tenants_pb2_grpc.TenantServiceStub(self.channel)
        self.policies = tenant_policies_pb2_grpc.TenantPolicyServiceStub(self.channel)
        self.fleet = fleet_pb2_grpc.FleetServiceStub(self.channel)

    def invoke(
        self,
        payload: bytes = b"{}",
        *,
        tenant: str = "ann",
        function: str = "hello",
        qualifier: str = "",
        timeout_s: float | None = WITHIN_S,
        **more: Any,
    ) -> Any:
        """Begins an invocation, which is awaited or cancelled."""
        request = invocations_pb2.InvokeRequest(
            name=f"functions/{function}", qualifier=qualifier, payload=payload, **more
        )
        return self.invocations.Invoke(request, timeout=timeout_s, metadata=self.keys[tenant])

    async def make_tenant(self, tenant: str) -> None:
        """Makes a tenant, and remembers its key."""
        request = tenants_pb2.CreateTenantRequest(tenant_id=tenant)
        made = await self.tenants.CreateTenant(request, timeout=WITHIN_S, metadata=self.admin)
        self.keys[tenant] = bearer(made.api_key)


_empty: list[bytes] = []
"""The file of a database without tenants. It is made once, and copied then, which is quicker."""


async def _new_database(directory: Path) -> str:
    file = directory / "frontend.db"
    url = f"sqlite+aiosqlite:///{file}"
    if not _empty:
        engine = open_engine(url)
        await migrate(engine, MIGRATIONS)
        await engine.dispose()
        _empty.append(file.read_bytes())
    file.write_bytes(_empty[0])
    return url


@asynccontextmanager
async def running_world(tenants: Sequence[str] = ("ann", "bob"), **settings: Any) -> AsyncGenerator[World]:
    """Runs everything, on free ports, in a directory of its own.

    Args:
        tenants: Which are made, besides the admin.
        settings: The frontend's, where they are to be others; `codestore_address` for another codestore than the peer.
    """
    codestore = CodestorePeer()  # pyright: ignore[reportAbstractUsage] - no test needs its other methods
    scheduler, host = SchedulerPeer(), HostPeer()
    for tenant in ("ann", "bob"):
        codestore.put(spec_of(tenant, "hello"))
    admin_key = api_keys.generate().text
    with tempfile.TemporaryDirectory(prefix="stoker-frontend-") as directory:
        admin_key_file = Path(directory) / "admin.key"
        admin_key_file.write_text(admin_key)
        registers = [codestore.register, scheduler.register, host.register]
        async with serving(registers) as (of_codestore, of_scheduler, of_host), AsyncExitStack() as last:
            scheduler.host_address = of_host.address
            scheduler.hosts = {"host-1": of_host.address}
            told = {
                "listen_address": "127.0.0.1:0",
                "drain_s": 0.0,
                "codestore_address": of_codestore.address,
                "scheduler_address": of_scheduler.address,
                "database_url": await _new_database(Path(directory)),
                "admin_key_file": admin_key_file,
            }
            async with running_frontend(FrontendSettings.model_validate(told | settings)) as server:
                # It outlives the frontend, and what was under way, so that a test sees how its calls end.
                channel = open_channel(server.address)
                last.push_async_callback(channel.close, WITHIN_S)
                peers = codestore, scheduler, host, of_codestore, of_scheduler, of_host
                world = World(server.address, channel, *peers, admin=bearer(admin_key))
                for tenant in tenants:
                    await world.make_tenant(tenant)
                if "codestore_address" not in settings:
                    await codestore.journal.wait_for(lambda: bool(codestore.watchers))
                yield world
