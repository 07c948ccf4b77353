"""A raw grpc.aio unary echo over two hops: this process, a proxy, an echo server, each a process of its own.

It is the least that a call through one proxy costs with the same library: bytes in, bytes out, no messages to parse, no
metadata, no validation, no interceptors.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc.aio

METHOD = "/stoker.benchmark.Echo/Echo"
LOCAL = "127.0.0.1:"


@asynccontextmanager
async def two_hops() -> AsyncGenerator[Callable[[bytes], Awaitable[bytes]]]:
    """Starts both servers; yields the echo."""
    with _server() as echo, _server(echo) as proxy:
        async with grpc.aio.insecure_channel(proxy) as channel:
            await channel.channel_ready()
            yield channel.unary_unary(METHOD)


@contextmanager
def _server(behind: str = "") -> Generator[str]:
    with subprocess.Popen([sys.executable, __file__, behind], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _serve(behind: str) -> None:
    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    async def forward(request: bytes, _context: Any) -> bytes:
        return await call(request)

    server = grpc.aio.server()
    channel: Any = grpc.aio.insecure_channel(behind) if behind else None
    call: Any = channel.unary_unary(METHOD) if behind else None
    make: Any = grpc.unary_unary_rpc_method_handler
    handler = make(forward if behind else echo)
    service, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port(f"{LOCAL}0")
    await server.start()
    print(f"{LOCAL}{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
