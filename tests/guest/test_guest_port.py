"""Hosts come and go at the guest's port, also in the middle of whatever is sent; each that comes is answered.

The port is the leading end of a pseudo-terminal, which the kernel handles as it does a virtio-serial port: it stays
open while others open and close the other end, says "hang-up" for as long as nobody has, and takes no more than a
certain amount then.
"""

import asyncio
import os
import random
import tty
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

import pytest
from agent.virtio_port import VirtioPort
from stoker_protos.guest.v1 import guest_pb2, transport_pb2
from stoker_ttrpc.client import Client
from stoker_ttrpc.server import Server, StreamMethod, UnaryMethod

PORT_HOLDS_BYTES = 64 * 1024
"""More than the port takes while nobody reads."""
ANSWER = guest_pb2.HelloResponse(image="x" * 1000)
SERVICE = "Guest"


class Ports:
    """The guest's port, and what is needed to open the host's end of it."""

    def __init__(self, file: int, name: str) -> None:
        self.guest = VirtioPort(file)
        self._name = name

    @contextmanager
    def host(self) -> Generator[int]:
        """A host's end, for as long as it is there."""
        file = os.open(self._name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            yield file
        finally:
            asyncio.get_running_loop().remove_reader(file)
            asyncio.get_running_loop().remove_writer(file)
            os.close(file)


@pytest.fixture
async def ports() -> AsyncIterator[Ports]:
    """A port that no host has opened."""
    leading, following = os.openpty()
    tty.setraw(following)
    name = os.ttyname(following)
    os.close(following)
    os.set_blocking(leading, False)
    yield Ports(leading, name)
    os.close(leading)


@asynccontextmanager
async def served(port: VirtioPort) -> AsyncGenerator[None]:
    """Answers at a port as the guest agent does."""

    async def hello(_request: object) -> guest_pb2.HelloResponse:
        return ANSWER

    async def watch(_request: object) -> AsyncGenerator[guest_pb2.WatchResponse]:
        while True:
            yield guest_pb2.WatchResponse(lines=guest_pb2.LogLines(lines=["x" * 1000]))

    async def serve() -> None:
        while True:
            await port.wait_for_host()
            await server.serve(port, port)

    methods = {
        "Hello": UnaryMethod(guest_pb2.HelloRequest, hello),
        "Watch": StreamMethod(guest_pb2.WatchRequest, watch),
    }
    server = Server({SERVICE: methods}, transport_pb2.TransportRequest, transport_pb2.TransportResponse)
    serving = asyncio.create_task(serve())
    async with asyncio.timeout(20):
        yield
    serving.cancel()
    await asyncio.wait([serving])


async def converse(host: int, hellos: int, *, is_watching: bool) -> None:
    """Connects as a host, asks several times at once, and leaves at the first answer."""
    end = VirtioPort(host)
    client = Client(end, end, transport_pb2.TransportRequest, transport_pb2.TransportResponse)
    await client.synchronize(5)
    tasks: list[asyncio.Task[str] | asyncio.Task[None]] = [asyncio.create_task(client.run())]
    if is_watching:
        tasks.append(asyncio.create_task(watch(client)))
    calls = [
        asyncio.create_task(client.call(SERVICE, "Hello", guest_pb2.HelloRequest(), guest_pb2.HelloResponse, 5))
        for _ in range(hellos)
    ]
    answered, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert {call.result().image for call in answered} == {ANSWER.image}
    for task in (*tasks, *calls):
        task.cancel()
    await asyncio.wait([*tasks, *calls])


async def watch(client: Client) -> None:
    async for _ in client.stream(SERVICE, "Watch", guest_pb2.WatchRequest(), guest_pb2.WatchResponse):
        pass


async def test_whoever_reads_is_told_of_a_host_that_is_found_gone_by_writing(ports: Ports) -> None:
    with ports.host():
        await ports.guest.wait_for_host()
        ports.guest.write(bytes(PORT_HOLDS_BYTES))
        reading = asyncio.create_task(ports.guest.read(100))
        await asyncio.sleep(0)
    # The event loop has not looked at the port since the host has gone.
    ports.guest.write(b"an answer")
    assert await asyncio.wait_for(reading, 5) == b""
    with pytest.raises(ConnectionResetError):
        await ports.guest.drain()


async def test_whoever_writes_is_told_of_a_host_that_is_found_gone_by_reading(ports: Ports) -> None:
    with ports.host():
        await ports.guest.wait_for_host()
        ports.guest.write(bytes(PORT_HOLDS_BYTES))
        sending = asyncio.create_task(ports.guest.drain())
        await asyncio.sleep(0)
    assert await asyncio.wait_for(ports.guest.read(100), 5) == b""
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(sending, 5)


async def test_a_host_is_waited_for_and_what_was_meant_for_an_earlier_one_is_forgotten(ports: Ports) -> None:
    ports.guest.write(bytes(PORT_HOLDS_BYTES))
    waiting = asyncio.create_task(ports.guest.wait_for_host())
    await asyncio.sleep(0)
    assert not waiting.done()
    with ports.host() as host:
        os.write(host, b"hello")
        await asyncio.wait_for(waiting, 5)
        assert await asyncio.wait_for(ports.guest.read(100), 5) == b"hello"
        await ports.guest.drain()


@pytest.mark.parametrize("seed", range(4))
async def test_each_of_many_hosts_that_leave_in_the_middle_is_answered(ports: Ports, seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311 - only different
    async with served(ports.guest):
        for _ in range(20):
            with ports.host() as host:
                await converse(host, choice.randint(1, 40), is_watching=choice.random() < 0.5)
