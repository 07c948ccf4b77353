"""Many host agents on one machine, whose VMs alone are of memory, and a real codestore behind a proxy that counts."""

import asyncio
import hashlib
import io
import random
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from stoker_codestore.codestore import running_codestore
from stoker_codestore.config import CodestoreSettings
from stoker_hostagent.config import HostAgentSettings
from stoker_hostagent.hostagent import serving
from stoker_hostagent.vm import Shape
from stoker_protos.v1 import (
    artifacts_pb2,
    artifacts_pb2_grpc,
    deliveries_pb2,
    deliveries_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from stoker_service.channels import open_channel

from tests.hostagent.memory_machines import MemoryMachines

MIB = 1024 * 1024
BLOCK_BYTES = 1024 * 1024
TENANT = (("stoker-tenant", "acme"),)
WITHIN_S = 300.0
"""How long anything may take that is waited for, in seconds."""


@dataclass(slots=True)
class Counter:
    """A proxy before a server, which counts what the server sends."""

    target: tuple[str, int]
    sent_bytes: int = 0
    address: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Counter"]:
        """Serves while the context is entered."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(*self.target)
        try:
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(self._pass_on(reader, target_writer, counts=False))
                answered = group.create_task(self._pass_on(target_reader, writer, counts=True))
                await asyncio.wait((asked, answered), return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                answered.cancel()
        finally:
            target_writer.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        try:
            while data := await reader.read(256 * 1024):
                self.sent_bytes += len(data) if counts else 0
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return


@dataclass(slots=True)
class ManyHosts:
    """A codestore, and hosts."""

    channel: grpc.aio.Channel
    counter: Counter
    state_dirs: list[Path] = field(default_factory=list[Path])

    async def upload(self, archive: bytes) -> str:
        """Uploads an artifact; returns its SHA-256."""
        artifacts: Any = artifacts_pb2_grpc.ArtifactServiceStub(self.channel)
        sha256 = hashlib.sha256(archive).hexdigest()
        await artifacts.UploadArtifact(_parts(archive, sha256), metadata=TENANT, timeout=WITHIN_S)
        return sha256

    async def publish(self, sha256: str) -> int:
        """Publishes a version of `hello`, which is made if there is none; returns its number."""
        functions: Any = functions_pb2_grpc.FunctionServiceStub(self.channel)
        versions: Any = versions_pb2_grpc.VersionServiceStub(self.channel)
        parent = "functions/hello"
        try:
            await functions.CreateFunction(
                functions_pb2.CreateFunctionRequest(function=functions_pb2.Function(name=parent)), metadata=TENANT
            )
        except grpc.aio.AioRpcError as failure:
            if failure.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        version = versions_pb2.Version(
            artifact=f"artifacts/{sha256}", runtime=versions_pb2.RUNTIME_PYTHON3, handler="main.echo"
        )
        request = versions_pb2.PublishVersionRequest(parent=parent, version=version)
        return (await versions.PublishVersion(request, metadata=TENANT, timeout=WITHIN_S)).version.number

    async def delivered(self, number: int) -> Sequence[deliveries_pb2.HostDelivery]:
        """How the delivery of a version of `hello` stands on each host, once it is complete."""
        deliveries: Any = deliveries_pb2_grpc.DeliveryServiceStub(self.channel)
        request = deliveries_pb2.WatchDeliveryRequest(name=f"functions/hello/versions/{number}")
        *_, last = [each async for each in deliveries.WatchDelivery(request, metadata=TENANT, timeout=WITHIN_S)]
        assert last.is_complete
        return last.hosts


@asynccontextmanager
async def many_hosts(directory: Path, count: int, **codestore_settings: object) -> AsyncGenerator[ManyHosts]:
    """Runs a codestore and so many host agents with a VM of the tenant each, while the context is entered."""
    settings = CodestoreSettings.model_validate(
        {
            "listen_address": "127.0.0.1:0",
            "database_url": f"sqlite+aiosqlite:///{directory}/codestore.db",
            "artifacts_url": f"file://{directory}/artifacts",
            "uploads_dir": directory / "uploads",
            "scheduler_address": "",
            "drain_s": 1,
            **codestore_settings,
        }
    )
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_codestore(settings))
        host, _, port = server.address.rpartition(":")
        counter = await stack.enter_async_context(Counter((host, int(port))).running())
        channel = await stack.enter_async_context(open_channel(server.address))
        many = ManyHosts(channel, counter)
        for number in range(count):
            many.state_dirs.append(directory / f"host-{number}")
            await stack.enter_async_context(_running_host(many.state_dirs[-1], counter.address))
        yield many


@asynccontextmanager
async def _running_host(state_dir: Path, codestore_address: str) -> AsyncGenerator[None]:
    machines = MemoryMachines()
    vm = f"vm-{state_dir.name}"
    await machines.create(vm, Shape(1, 512))
    await machines.assign(vm, "acme")
    settings = HostAgentSettings.model_validate(
        {
            "host": state_dir.name,
            "listen_address": "127.0.0.1:0",
            # Nothing answers there, which a host agent lives with.
            "scheduler_address": "127.0.0.1:1",
            "codestore_address": codestore_address,
            "state_dir": state_dir,
            "drain_s": 1,
        }
    )
    async with serving(settings, machines):
        yield


def tar_of(size_bytes: int, *, changed: int | None = None, seed: int = 0) -> bytes:
    """A tar.gz of files of half a MiB that do not shrink; of one with another number the content is another."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as archive:
        for number in range(max(1, size_bytes // (MIB // 2))):
            chance = random.Random(f"{seed} {number} {number == changed}")  # noqa: S311 - bytes that do not shrink
            info = tarfile.TarInfo(f"data/{number:05}")
            info.size = MIB // 2
            archive.addfile(info, io.BytesIO(chance.randbytes(info.size)))
        code = b"def echo(event, context):\n    return event\n"
        info = tarfile.TarInfo("main.py")
        info.size = len(code)
        archive.addfile(info, io.BytesIO(code))
    return buffer.getvalue()


async def _parts(archive: bytes, sha256: str) -> AsyncIterator[artifacts_pb2.UploadArtifactRequest]:
    header = artifacts_pb2.UploadArtifactHeader(sha256=sha256, size_bytes=len(archive))
    yield artifacts_pb2.UploadArtifactRequest(header=header)
    for begin in range(0, len(archive), BLOCK_BYTES):
        yield artifacts_pb2.UploadArtifactRequest(chunk=archive[begin : begin + BLOCK_BYTES])
