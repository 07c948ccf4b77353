"""The codestore and other hosts, as the host agent asks them for what code consists of."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import grpc.aio
from stoker_artifacts import CorruptManifest, Manifest, PackedManifest, unpack_manifest
from stoker_protos.codestore.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_protos.hostagent.v1 import chunks_pb2, chunks_pb2_grpc
from stoker_service.channels import open_channel
from stoker_service.status import error_from_rpc

from stoker_hostagent import errors
from stoker_hostagent.artifact import Artifact

MAX_REQUESTED = 256
"""How many chunks one request names: about 16 MiB."""
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
"""The most that a packed manifest may be, in bytes: no more than one is unpacked."""


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact's manifest, verified, and who has its chunks."""

    manifest: Manifest
    packed: PackedManifest
    peers: Sequence[str]
    """Addresses of hosts."""


class Codestore:
    """Manifests, and chunks of whoever has them. A wait has no bound here; whoever asks sets one."""

    def __init__(self, channel: grpc.aio.Channel, host: str) -> None:
        """Asks over a channel, in the name of a host."""
        self._deliveries = deliveries_pb2_grpc.DeliveryServiceStub(channel)
        self._host = host

    async def find(self, artifact: Artifact) -> Found:
        """Fetches an artifact's manifest.

        Raises:
            StokerError: ARTIFACT_CORRUPT, or the codestore's own.
        """
        wanted = deliveries_pb2.ArtifactId(tenant=artifact.tenant, sha256=artifact.sha256)
        request = deliveries_pb2.FetchManifestRequest(artifact=wanted, host=self._host)
        header = deliveries_pb2.ManifestHeader()
        data = bytearray()
        try:
            async for response in self._deliveries.FetchManifest(request):
                if response.HasField("header"):
                    header = response.header
                data += response.data
                if len(data) > MAX_MANIFEST_BYTES:
                    raise errors.artifact_corrupt(artifact.sha256, "its manifest is too large")
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure) from failure
        packed = PackedManifest(header.sha256, bytes(data))
        try:
            return Found(unpack_manifest(packed.sha256, packed.data), packed, tuple(header.peers))
        except CorruptManifest as error:
            raise errors.artifact_corrupt(artifact.sha256, str(error)) from error

    async def chunks(self, names: Sequence[str], peer: str = "") -> AsyncGenerator[Sequence[tuple[str, bytes]]]:
        """Yields chunks, as they are packed, some at a time; nothing is verified.

        Args:
            names: Their SHA-256.
            peer: The address of the host to ask; empty for the codestore.

        Raises:
            StokerError: What the other side says.
        """
        try:
            async with aclosing(self._of_peer(names, peer) if peer else self._of_codestore(names)) as responses:
                async for response in responses:
                    yield [(chunk.sha256, chunk.data) for chunk in response.chunks]
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure) from failure

    async def _of_codestore(self, names: Sequence[str]) -> AsyncGenerator[deliveries_pb2.FetchChunksResponse]:
        for some in _batches(names):
            async for response in self._deliveries.FetchChunks(deliveries_pb2.FetchChunksRequest(sha256s=some)):
                yield response

    async def _of_peer(self, names: Sequence[str], address: str) -> AsyncGenerator[deliveries_pb2.FetchChunksResponse]:
        async with open_channel(address) as channel:
            peer = chunks_pb2_grpc.ChunkServiceStub(channel)
            for some in _batches(names):
                request = chunks_pb2.FetchChunksRequest(chunks=deliveries_pb2.FetchChunksRequest(sha256s=some))
                async for response in peer.FetchChunks(request):
                    yield response.chunks


def _batches(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[begin : begin + MAX_REQUESTED] for begin in range(0, len(names), MAX_REQUESTED)]
