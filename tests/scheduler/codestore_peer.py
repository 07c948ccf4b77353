"""A codestore that tells what functions are to have, as a test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc
from stoker_service.metadata import Context


class CodestorePeer(codestore_pb2_grpc.ConcurrencyTargetServiceServicer):
    """Serves `WatchConcurrency`."""

    def __init__(self) -> None:
        self.address = ""
        self._functions: dict[tuple[str, str], codestore_pb2.FunctionConcurrency] = {}
        self._watches: set[asyncio.Queue[codestore_pb2.FunctionConcurrency | None]] = set()

    async def tell(self, function: codestore_pb2.FunctionConcurrency) -> None:
        """Sets what a function is to have, and tells all who watch."""
        self._functions[function.tenant, function.function] = function
        for watch in self._watches:
            watch.put_nowait(function)

    def forget_all(self) -> None:
        """Sets nothing for any function, without telling anybody."""
        self._functions.clear()

    async def break_watches(self) -> None:
        """Ends all watches; whoever watches begins again."""
        for watch in self._watches:
            watch.put_nowait(None)

    async def WatchConcurrency(
        self, request: codestore_pb2.WatchConcurrencyRequest, context: Context
    ) -> AsyncIterator[codestore_pb2.WatchConcurrencyResponse]:
        """Tells all there is, that it is complete, and each change."""
        watch: asyncio.Queue[codestore_pb2.FunctionConcurrency | None] = asyncio.Queue()
        self._watches.add(watch)
        try:
            for function in list(self._functions.values()):
                yield codestore_pb2.WatchConcurrencyResponse(function=function)
            yield codestore_pb2.WatchConcurrencyResponse(is_complete=True)
            while (changed := await watch.get()) is not None:
                yield codestore_pb2.WatchConcurrencyResponse(function=changed)
        finally:
            self._watches.discard(watch)


@asynccontextmanager
async def a_codestore() -> AsyncGenerator[CodestorePeer]:
    """A codestore that is running."""
    peer = CodestorePeer()
    server = grpc.aio.server()
    codestore_pb2_grpc.add_ConcurrencyTargetServiceServicer_to_server(peer, server)
    peer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(None)
