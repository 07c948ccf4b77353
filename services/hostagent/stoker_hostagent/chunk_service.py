"""The service that other hosts fetch chunks from: translate, call, translate back."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from stoker_protos.codestore.v1 import deliveries_pb2
from stoker_protos.hostagent.v1 import chunks_pb2, chunks_pb2_grpc
from stoker_service.metadata import Context

from stoker_hostagent import errors
from stoker_hostagent.chunk_store import ChunkStore

READ_AT_ONCE = 16
"""How many chunks one message carries: about 1 MiB."""


class ChunkServicer(chunks_pb2_grpc.ChunkServiceServicer):
    """Serves `stoker.hostagent.v1.ChunkService`."""

    def __init__(self, store: ChunkStore, max_fetches: int) -> None:
        """Serves `max_fetches` hosts at once."""
        self._store = store
        self._max_fetches = max_fetches
        self._fetches = 0

    async def FetchChunks(
        self, request: chunks_pb2.FetchChunksRequest, context: Context
    ) -> AsyncIterator[chunks_pb2.FetchChunksResponse]:
        """Streams chunks. Whoever gets them verifies them."""
        if self._fetches >= self._max_fetches:
            raise errors.too_many_fetches(self._max_fetches)
        self._fetches += 1
        try:
            names = request.chunks.sha256s
            for begin in range(0, len(names), READ_AT_ONCE):
                some = names[begin : begin + READ_AT_ONCE]
                packed = await asyncio.to_thread(self._read, some)
                chunks = [
                    deliveries_pb2.PackedChunk(sha256=name, data=data) for name, data in zip(some, packed, strict=True)
                ]
                yield chunks_pb2.FetchChunksResponse(chunks=deliveries_pb2.FetchChunksResponse(chunks=chunks))
        finally:
            self._fetches -= 1

    def _read(self, names: Sequence[str]) -> list[bytes]:
        found: list[bytes] = []
        for name in names:
            data = self._store.read(name)
            if data is None:
                raise errors.chunk_not_found(name)
            found.append(data)
        return found
