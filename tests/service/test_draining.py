"""How a server stops: what runs may end, nothing else keeps it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from stoker_service.channels import open_channel
from stoker_service.config import ServiceSettings
from stoker_service.metadata import Context
from stoker_service.server import Server, running_server


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def answer(self, request: bytes, _context: Context) -> bytes:
        self.begun.set()
        await self.may_end.wait()
        return request

    def register(self, server: grpc.aio.Server) -> None:
        method: Any = grpc.unary_unary_rpc_method_handler(self.answer)  # pyright: ignore[reportArgumentType, reportUnknownVariableType] - the stubs know no coroutines here
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Slow", {"Answer": method})])

    @staticmethod
    def call(channel: grpc.aio.Channel) -> Any:
        return cast("Any", channel).unary_unary("/test.Slow/Answer")(b"done", timeout=10)


@asynccontextmanager
async def channel_to(slow: Slow, drain_s: float, stopping: AsyncExitStack) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel that outlives its server, which stops with `stopping`."""
    settings = ServiceSettings(listen_address="127.0.0.1:0", drain_s=drain_s)
    server: Server = await stopping.enter_async_context(running_server(settings, slow.register, ["test.Slow"]))
    async with open_channel(server.address) as channel:
        yield channel


async def test_a_running_call_ends_in_peace_and_new_ones_are_refused() -> None:
    slow, stopping = Slow(), AsyncExitStack()
    async with channel_to(slow, 10.0, stopping) as channel:
        running = asyncio.ensure_future(Slow.call(channel))
        await slow.begun.wait()
        stopped = asyncio.create_task(stopping.aclose())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call_until_refused(channel)
        # gRPC cancels a call that has arrived in the moment of the stop and that nobody has begun.
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert not stopped.done()
        slow.may_end.set()
        assert await running == b"done"
        await stopped


async def test_a_call_that_overruns_is_ended() -> None:
    slow, stopping = Slow(), AsyncExitStack()
    async with channel_to(slow, 0.1, stopping) as channel:
        running = asyncio.ensure_future(Slow.call(channel))
        await slow.begun.wait()
        await stopping.aclose()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_who_watches_its_health_is_told_and_does_not_keep_it() -> None:
    slow, stopping = Slow(), AsyncExitStack()
    async with channel_to(slow, 60.0, stopping) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="test.Slow"), timeout=30)
        statuses = [(await anext(aiter(watch))).status]
        async with asyncio.timeout(10):
            await stopping.aclose()
        statuses += [response.status async for response in watch]
    assert statuses[0] == health_pb2.HealthCheckResponse.SERVING
    assert statuses[-1] == health_pb2.HealthCheckResponse.NOT_SERVING


async def call_until_refused(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    while True:
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
