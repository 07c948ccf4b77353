"""The services that a host agent talks to, as real gRPC servers, and what it needs of each."""

import asyncio
import hashlib
import io
import tempfile
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from stoker_artifacts import Chunk, Manifest, manifest_of, pack_chunk, pack_manifest
from stoker_hostagent.artifact import Artifact
from stoker_hostagent.versions import Version
from stoker_protos.codestore.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_protos.scheduler.v1 import hosts_pb2, hosts_pb2_grpc
from stoker_service.config import ServiceSettings
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context
from stoker_service.server import Server, running_server


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """An archive of some files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


class ArtifactFetch(deliveries_pb2_grpc.DeliveryServiceServicer):
    """A codestore's artifacts, which may be damaged or held back."""

    def __init__(self) -> None:
        self.artifacts: dict[str, bytes] = {}
        self.chunks: dict[str, bytes] = {}
        self.fetches = 0
        self.has_begun = asyncio.Event()
        self.sent_bytes = 0
        self.refusals = 0
        self.breaks_after = 1_000_000
        """How many more chunks are sent before a fetch breaks off, once."""
        self.damage: Callable[[bytes], bytes] = lambda packed: packed
        self.peers: list[str] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.watches: asyncio.Queue[asyncio.Queue[deliveries_pb2.Delivery]] = asyncio.Queue()
        self.watching: list[deliveries_pb2.WatchDeliveriesRequest] = []
        self.reports: asyncio.Queue[deliveries_pb2.ReportDeliveryRequest] = asyncio.Queue()

    def put(self, tenant: str, content: bytes) -> Artifact:
        """Adds an artifact."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.artifacts[sha256] = content
        return Artifact(tenant, sha256, len(content))

    async def FetchManifest(
        self, request: deliveries_pb2.FetchManifestRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.FetchManifestResponse]:
        self.fetches += 1
        self.has_begun.set()
        if self.refusals > 0:
            self.refusals -= 1
            raise StokerError(ErrorKind.UNAVAILABLE, "OBJECT_STORE_UNAVAILABLE", "the object store is away")
        if request.artifact.sha256 not in self.artifacts:
            raise StokerError(ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND", "there is no such artifact")
        packed = pack_manifest(self._manifest(self.artifacts[request.artifact.sha256]))
        header = deliveries_pb2.ManifestHeader(sha256=packed.sha256, peers=self.peers)
        yield deliveries_pb2.FetchManifestResponse(header=header)
        yield deliveries_pb2.FetchManifestResponse(data=packed.data)
        await self.may_end.wait()

    def _manifest(self, content: bytes) -> Manifest:
        def take(chunk: Chunk, data: memoryview) -> None:
            self.chunks[chunk.sha256] = pack_chunk(data)

        with tempfile.TemporaryDirectory() as directory:
            archive = Path(directory, "archive")
            archive.write_bytes(content)
            return manifest_of(archive, Path(directory, "scratch"), take)

    async def FetchChunks(
        self, request: deliveries_pb2.FetchChunksRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.FetchChunksResponse]:
        for sha256 in request.sha256s:
            if self.breaks_after == 0:
                self.breaks_after = 1_000_000
                raise StokerError(ErrorKind.INTERNAL, "BROKEN", "the fetch broke off")
            self.breaks_after -= 1
            data = self.damage(self.chunks[sha256])
            self.sent_bytes += len(data)
            yield deliveries_pb2.FetchChunksResponse(chunks=[deliveries_pb2.PackedChunk(sha256=sha256, data=data)])

    async def WatchDeliveries(
        self, request: deliveries_pb2.WatchDeliveriesRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.WatchDeliveriesResponse]:
        orders: asyncio.Queue[deliveries_pb2.Delivery] = asyncio.Queue()
        self.watching.append(request)
        yield deliveries_pb2.WatchDeliveriesResponse()
        self.watches.put_nowait(orders)
        while True:
            yield deliveries_pb2.WatchDeliveriesResponse(delivery=await orders.get())

    async def ReportDelivery(
        self, request: deliveries_pb2.ReportDeliveryRequest, context: Context
    ) -> deliveries_pb2.ReportDeliveryResponse:
        self.reports.put_nowait(request)
        return deliveries_pb2.ReportDeliveryResponse()

    async def watch(self) -> "asyncio.Queue[deliveries_pb2.Delivery]":
        """The next watch of a host agent, into which deliveries are put."""
        async with asyncio.timeout(5):
            return await self.watches.get()

    async def reported(self, delivery_id: str, *states: "deliveries_pb2.DeliveryState.ValueType") -> Any:
        """The next report on a delivery in one of these states."""
        async with asyncio.timeout(5):
            while True:
                report = await self.reports.get()
                if report.delivery_id == delivery_id and report.state in states:
                    return report


@asynccontextmanager
async def running_codestore() -> AsyncGenerator[tuple[ArtifactFetch, str]]:
    """A codestore that serves artifacts, and its address."""
    artifacts = ArtifactFetch()

    def register(server: grpc.aio.Server) -> None:
        deliveries_pb2_grpc.add_DeliveryServiceServicer_to_server(artifacts, server)

    async with _serving(register) as server:
        yield artifacts, server.address


class FleetConnection:
    """One connection of a host agent, as the scheduler sees it."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[hosts_pb2.ConnectRequest] = asyncio.Queue()
        self.commands: asyncio.Queue[hosts_pb2.ConnectResponse | None] = asyncio.Queue()

    async def read(self, requests: AsyncIterator[hosts_pb2.ConnectRequest]) -> None:
        """Takes what the host agent reports."""
        async for request in requests:
            self._reports.put_nowait(request)

    def command(self, command: hosts_pb2.ConnectResponse) -> None:
        """Gives a command."""
        self.commands.put_nowait(command)

    def hang_up(self) -> None:
        """Ends the connection."""
        self.commands.put_nowait(None)

    async def report(self) -> hosts_pb2.ConnectRequest:
        """The next report."""
        async with asyncio.timeout(5):
            return await self._reports.get()

    async def until(self, is_it: Callable[[hosts_pb2.ConnectRequest], bool]) -> hosts_pb2.ConnectRequest:
        """The next report that is what is waited for; those before it are passed over."""
        while not is_it(report := await self.report()):
            pass
        return report

    async def result(self, command_id: str) -> hosts_pb2.CommandResult:
        """The result of a command; reports before it are passed over."""
        return (await self.until(lambda report: report.result.command_id == command_id)).result

    async def obey(self, command: hosts_pb2.ConnectResponse) -> hosts_pb2.CommandResult:
        """Gives a command and waits for its result."""
        self.command(command)
        return await self.result(command.command_id)


class FleetServicer(hosts_pb2_grpc.HostServiceServicer):
    """The scheduler's side of fleet streams."""

    def __init__(self) -> None:
        self._connections: asyncio.Queue[FleetConnection] = asyncio.Queue()

    async def connection(self) -> FleetConnection:
        """The next connection of a host agent."""
        async with asyncio.timeout(5):
            return await self._connections.get()

    async def Connect(
        self, request_iterator: AsyncIterator[hosts_pb2.ConnectRequest], context: Context
    ) -> AsyncIterator[hosts_pb2.ConnectResponse]:
        connection = FleetConnection()
        self._connections.put_nowait(connection)
        reading = asyncio.create_task(connection.read(request_iterator))
        try:
            while command := await connection.commands.get():
                yield command
        finally:
            reading.cancel()


@asynccontextmanager
async def running_scheduler(address: str = "127.0.0.1:0") -> AsyncGenerator[tuple[FleetServicer, str]]:
    """A scheduler that host agents connect to, and its address."""
    fleet = FleetServicer()

    def register(server: grpc.aio.Server) -> None:
        hosts_pb2_grpc.add_HostServiceServicer_to_server(fleet, server)

    async with _serving(register, address) as server:
        yield fleet, server.address


@asynccontextmanager
async def _serving(register: Callable[[grpc.aio.Server], None], address: str = "127.0.0.1:0") -> AsyncGenerator[Server]:
    settings = ServiceSettings(listen_address=address, drain_s=0)
    async with running_server(settings, register, []) as server:
        yield server


def version_of(artifact: Artifact, handler: str = "main.echo", *, number: int = 1) -> Version:
    """A version of the function `hello`."""
    return Version(
        uid=f"uid-{artifact.tenant}-{handler}-{number}",
        tenant=artifact.tenant,
        function="hello",
        number=number,
        artifact_sha256=artifact.sha256,
        artifact_size_bytes=artifact.size_bytes,
        runtime="python3",
        handler=handler,
        memory_mib=128,
        timeout_s=5,
        tmp_mib=64,
        environment={"GREETING": "hi"},
    )
