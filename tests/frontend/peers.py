"""What the peers have in common.

They speak the real protocols, over real connections, in the test's own process, and do what the test tells them to.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from stoker_service.config import ServiceSettings
from stoker_service.server import running_server

WITHIN_S = 10.0
"""How long a test waits for anything at the most, in seconds; never reached where all is well."""


class Journal:
    """Lets a test wait for what a peer sees."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def changed(self) -> None:
        """Says that something has happened."""
        for waiting, is_so in self._waiting.items():
            if not waiting.done() and is_so():
                waiting.set_result(None)

    async def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Returns when something holds."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = is_so
        try:
            self.changed()
            async with asyncio.timeout(WITHIN_S):
                await waiting
        finally:
            del self._waiting[waiting]


class Served:
    """A peer's server, which can be ended and begun again where it was."""

    def __init__(self, register: Callable[[grpc.aio.Server], None]) -> None:
        self._register = register
        self._context: Any = None
        self.address = "127.0.0.1:0"

    async def begin(self) -> None:
        """Serves, at the address where it served before."""
        settings = ServiceSettings(listen_address=self.address, drain_s=0)
        self._context = running_server(settings, self._register, [])
        self.address = (await self._context.__aenter__()).address

    async def end(self) -> None:
        """Ends it, with all calls there are."""
        if self._context is not None:
            context, self._context = self._context, None
            await context.__aexit__(None, None, None)


@asynccontextmanager
async def serving(registers: Iterable[Callable[[grpc.aio.Server], None]]) -> AsyncGenerator[list[Served]]:
    """Serves several peers while the context is entered."""
    servers = [Served(register) for register in registers]
    try:
        for server in servers:
            await server.begin()
        yield servers
    finally:
        for server in servers:
            await server.end()
