"""A host agent whole but for its VMs, which are of memory, between a real scheduler and codestore of the tests' own."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc.aio
from stoker_hostagent.config import HostAgentSettings
from stoker_hostagent.hostagent import serving
from stoker_hostagent.versions import Version
from stoker_hostagent.wire import spec_from_version
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_service.channels import open_channel
from stoker_service.metadata import HOLDER

from tests.hostagent.hostagent_peers import (
    ArtifactFetch,
    FleetConnection,
    FleetServicer,
    running_codestore,
    running_scheduler,
    version_of,
    zip_of,
)
from tests.hostagent.memory_machines import MemoryGuest, MemoryMachines

VM = "vm-000000000001"
CODE = zip_of({"main.py": b"def echo(event, context): return event"})


_Stream: TypeAlias = "grpc.aio.StreamStreamCall[hostagent_pb2.ConnectRequest, hostagent_pb2.ConnectResponse]"


@dataclass(slots=True)
class Surroundings:
    """What a host agent works with, and what outlives it."""

    fleet: FleetServicer
    scheduler_address: str
    artifacts: ArtifactFetch
    codestore_address: str
    state_dir: Path
    machines: MemoryMachines = field(default_factory=MemoryMachines)
    ids: "itertools.count[int]" = field(default_factory=itertools.count)

    def settings(self, **changes: object) -> HostAgentSettings:
        """Settings of a host agent in these surroundings."""
        values = {
            "host": "host-1",
            "listen_address": "127.0.0.1:0",
            "scheduler_address": self.scheduler_address,
            "codestore_address": self.codestore_address,
            "state_dir": self.state_dir,
            "drain_s": 2,
            **changes,
        }
        return HostAgentSettings.model_validate(values)

    @property
    def guest(self) -> MemoryGuest:
        """The guest of the VM that tests use."""
        return self.machines.guests[VM]

    def version(self, handler: str = "main.echo", *, number: int = 1, tenant: str = "acme") -> Version:
        """A version that can be run."""
        return version_of(self.artifacts.put(tenant, CODE), handler, number=number)

    def command(self, **command: object) -> hosts_pb2.ConnectResponse:
        """A command with an id of its own."""
        return hosts_pb2.ConnectResponse(command_id=f"command-{next(self.ids)}", **command)  # pyright: ignore[reportArgumentType] - one of the commands

    def create_vm(self, vm: str = VM) -> hosts_pb2.ConnectResponse:
        """The command that makes the VM."""
        return self.command(create_vm=hosts_pb2.CreateVm(vm=vm, shape=hosts_pb2.Shape(vcpus=1, memory_mib=512)))

    def assign_vm(self, vm: str = VM, tenant: str = "acme", first: Version | None = None) -> hosts_pb2.ConnectResponse:
        """The command that gives it to a tenant."""
        spec = spec_from_version(first) if first else None
        return self.command(assign_vm=hosts_pb2.AssignVm(vm=vm, tenant=tenant, first=spec))

    def create_container(
        self, version: Version, container: str = "c-1", *, lease: str = "lease-1", holder: str = "frontend-1"
    ) -> hosts_pb2.ConnectResponse:
        """The command that makes a container."""
        return self.command(
            create_container=hosts_pb2.CreateContainer(
                container=container, vm=VM, spec=spec_from_version(version), lease_id=lease, holder=holder
            )
        )

    def set_lease(self, lease: str, *, container: str = "c-1", holder: str = "frontend-2") -> hosts_pb2.ConnectResponse:
        """The command that puts a container under a lease."""
        return self.command(set_lease=hosts_pb2.SetLease(container=container, lease_id=lease, holder=holder))

    async def prepare(self, connection: FleetConnection, version: Version, container: str = "c-1") -> None:
        """Makes a VM for the version's tenant, and a container under `lease-1`."""
        for command in (self.create_vm(), self.assign_vm(), self.create_container(version, container)):
            result = await connection.obey(command)
            assert (result.error_reason, result.error_message) == ("", "")


@asynccontextmanager
async def surroundings(state_dir: Path) -> AsyncGenerator[Surroundings]:
    """A scheduler, a codestore, a state directory and machines."""
    async with running_scheduler() as (fleet, scheduler), running_codestore() as (artifacts, codestore):
        yield Surroundings(fleet, scheduler, artifacts, codestore, state_dir)


@asynccontextmanager
async def running_host(around: Surroundings, **changes: object) -> AsyncGenerator[tuple[str, FleetConnection]]:
    """A host agent that is connected: its address, and the scheduler's side."""
    async with serving(around.settings(**changes), around.machines) as server:
        yield server.address, await around.fleet.connection()


class Frontend:
    """A frontend's stream."""

    def __init__(
        self, stream: "grpc.aio.StreamStreamCall[hostagent_pb2.ConnectRequest, hostagent_pb2.ConnectResponse]"
    ) -> None:
        self.stream = stream

    async def send(self, call_id: int, payload: bytes = b"{}", **changes: object) -> None:
        """Orders an invocation."""
        values: dict[str, object] = {
            "lease_id": "lease-1",
            "container": "c-1",
            "invocation_id": f"invocation-{call_id}",
            "timeout_ms": 5000,
            "payload": payload,
            "content_type": "application/json",
            **changes,
        }
        start = hostagent_pb2.Start(**values)  # pyright: ignore[reportArgumentType] - as the message's fields
        await self.stream.write(hostagent_pb2.ConnectRequest(call_id=call_id, start=start))

    async def cancel(self, call_id: int) -> None:
        """Stops an invocation."""
        await self.stream.write(hostagent_pb2.ConnectRequest(call_id=call_id, cancel=hostagent_pb2.Cancel()))

    async def answer(self) -> hostagent_pb2.ConnectResponse:
        """The next answer."""
        async with asyncio.timeout(5):
            async for response in self.stream:
                return response
        raise AssertionError("the host ended the stream")

    async def invoke(self, call_id: int, payload: bytes = b"{}", **changes: object) -> hostagent_pb2.ConnectResponse:
        """Orders an invocation and waits for its answer."""
        await self.send(call_id, payload, **changes)
        return await self.answer()


@asynccontextmanager
async def frontend(address: str, holder: str = "frontend-1") -> AsyncGenerator[Frontend]:
    """A frontend that is connected to a host."""
    async with open_channel(address) as channel:
        stream = hostagent_pb2_grpc.InvocationServiceStub(channel).Connect(metadata=((HOLDER, holder),))
        yield Frontend(stream)
        stream.cancel()
