"""The service that hosts are delivered by: translate, call, translate back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from stoker_protos.codestore.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_service.metadata import Context

from stoker_codestore import errors, names
from stoker_codestore.artifacts import Artifacts
from stoker_codestore.deliveries import Deliveries, Host
from stoker_codestore.distribution import ArtifactKey
from stoker_codestore.manifests import Manifests
from stoker_codestore.object_store import CHUNK_BYTES, ArtifactStore
from stoker_codestore.push_ahead import PushAhead

READS_AT_ONCE = 8
"""How many chunks are read from the store at the same time for one fetch."""


class DeliveryServicer(deliveries_pb2_grpc.DeliveryServiceServicer):
    """Serves `stoker.codestore.v1.DeliveryService`."""

    def __init__(
        self,
        deliveries: Deliveries,
        push: PushAhead | None,
        artifacts: Artifacts,
        manifests: Manifests,
        store: ArtifactStore,
        *,
        max_fetches: int,
    ) -> None:
        """Serves hosts.

        Args:
            deliveries: What is on its way.
            push: What says what hosts should have; None where nothing is pushed.
            artifacts: Which there are.
            manifests: What they consist of.
            store: Where chunks are.
            max_fetches: How many fetches of chunks may run at once.
        """
        self._deliveries = deliveries
        self._push = push
        self._artifacts = artifacts
        self._manifests = manifests
        self._store = store
        self._max_fetches = max_fetches
        self._fetches = 0

    async def WatchDeliveries(
        self, request: deliveries_pb2.WatchDeliveriesRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.WatchDeliveriesResponse]:
        """Tells a host what to fetch."""
        host = Host(request.host, request.address, frozenset(request.tenants), frozenset(map(_key, request.artifacts)))
        async with aclosing(self._deliveries.watch(host)) as orders:
            async for order in orders:
                if order is None:
                    # Before the watch is said to have begun: what is published from then on is not what was missed.
                    if self._push is not None:
                        await self._push.bring_up(host.id, host.tenants, host.artifacts)
                    yield deliveries_pb2.WatchDeliveriesResponse()
                    continue
                delivery = deliveries_pb2.Delivery(id=order.id, artifact=_message(order.artifact), peer=order.peer)
                yield deliveries_pb2.WatchDeliveriesResponse(delivery=delivery)

    async def ReportDelivery(
        self, request: deliveries_pb2.ReportDeliveryRequest, context: Context
    ) -> deliveries_pb2.ReportDeliveryResponse:
        """Notes how a delivery goes."""
        host, artifact = request.host, _key(request.artifact)
        match request.state:
            case deliveries_pb2.DELIVERY_STATE_DELIVERED:
                self._deliveries.fetched(
                    host, artifact, request.delivery_id, request.lacking_bytes, request.fetched_bytes
                )
                self._deliveries.delivered(host, artifact)
            case deliveries_pb2.DELIVERY_STATE_FAILED:
                self._deliveries.failed(host, artifact, request.delivery_id, request.message)
            case deliveries_pb2.DELIVERY_STATE_GONE:
                self._deliveries.gone(host, artifact)
            case _:
                self._deliveries.fetched(
                    host, artifact, request.delivery_id, request.lacking_bytes, request.fetched_bytes
                )
        return deliveries_pb2.ReportDeliveryResponse()

    async def FetchManifest(
        self, request: deliveries_pb2.FetchManifestRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.FetchManifestResponse]:
        """Streams a manifest."""
        key = _key(request.artifact)
        if not names.is_name(key.tenant):
            raise errors.artifact_not_found(key.sha256)
        artifact = await self._artifacts.get(key.tenant, key.sha256)
        manifest = await self._manifests.of(artifact)
        header = deliveries_pb2.ManifestHeader(
            sha256=manifest.sha256, peers=self._deliveries.peers_of(key, request.host)
        )
        yield deliveries_pb2.FetchManifestResponse(header=header)
        async with aclosing(self._store.read(manifest.object_key)) as blocks:
            async for block in blocks:
                yield deliveries_pb2.FetchManifestResponse(data=block)

    async def FetchChunks(
        self, request: deliveries_pb2.FetchChunksRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.FetchChunksResponse]:
        """Streams chunks."""
        if self._fetches >= self._max_fetches:
            raise errors.too_many_fetches(self._max_fetches)
        self._fetches += 1
        try:
            keys = await self._manifests.keys_of_chunks(request.sha256s)
            async with aclosing(self._read(request.sha256s, [keys.get(name, "") for name in request.sha256s])) as read:
                async for response in read:
                    yield response
        finally:
            self._fetches -= 1

    async def _read(
        self, names: Sequence[str], keys: Sequence[str]
    ) -> AsyncGenerator[deliveries_pb2.FetchChunksResponse]:
        some = deliveries_pb2.FetchChunksResponse()
        size_bytes = 0
        for begin in range(0, len(names), READS_AT_ONCE):
            wanted = list(zip(names, keys, strict=True))[begin : begin + READS_AT_ONCE]
            for (name, _), data in zip(wanted, await asyncio.gather(*map(self._get, wanted)), strict=True):
                some.chunks.add(sha256=name, data=data)
                size_bytes += len(data)
            if size_bytes >= CHUNK_BYTES // 2:
                yield some
                some = deliveries_pb2.FetchChunksResponse()
                size_bytes = 0
        if some.chunks:
            yield some

    async def _get(self, chunk: tuple[str, str]) -> bytes:
        name, key = chunk
        data = await self._store.get(key) if key else None
        if data is None:
            raise errors.chunk_not_found(name)
        return data


def _key(artifact: deliveries_pb2.ArtifactId) -> ArtifactKey:
    return ArtifactKey(artifact.tenant, artifact.sha256)


def _message(artifact: ArtifactKey) -> deliveries_pb2.ArtifactId:
    return deliveries_pb2.ArtifactId(tenant=artifact.tenant, sha256=artifact.sha256)
