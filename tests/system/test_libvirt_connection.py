"""The connection to a real libvirt: errors are told apart, and it comes back after it was lost."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import libvirt
import pytest
from stoker_hostagent import libvirt_connection
from stoker_hostagent.libvirt_connection import LibvirtConnection, NoSuchDomain, connected
from stoker_service.errors import StokerError

# `stoker up` sees to it that libvirt runs.
pytestmark = pytest.mark.usefixtures("system")

URI = "qemu:///system"
LIBVIRT_SOCKET = Path("/run/libvirt/libvirt-sock")


class Proxy:
    """Stands between a client and libvirt, and can vanish: libvirt itself serves others meanwhile."""

    def __init__(self, socket: Path) -> None:
        self.uri = f"qemu+unix:///system?socket={socket}"
        self._socket = socket
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_unix_server(self._connect, self._socket)

    def stop(self) -> None:
        """Vanishes, with all connections."""
        if self._server is not None:
            self._server.close()
        self._socket.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(LIBVIRT_SOCKET)
        self._writers |= {writer, upstream_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, upstream_writer))
                group.create_task(_pass_on(upstream_reader, writer))
        finally:
            self._writers -= {writer, upstream_writer}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    writer.transport.abort()


@asynccontextmanager
async def running_proxy(socket: Path) -> AsyncGenerator[Proxy]:
    proxy = Proxy(socket)
    await proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _look_up(name: str) -> Callable[[libvirt.virConnect], str]:
    return lambda connection: connection.lookupByName(name).name()


async def _call_until_it_fails(connection: LibvirtConnection) -> None:
    async with asyncio.timeout(10):
        while True:
            with suppress(NoSuchDomain):
                await connection.call(_look_up("no-such-domain"))


async def test_a_domain_that_is_not_there_is_told_apart_from_a_failure() -> None:
    async with connected(URI) as connection:
        with pytest.raises(NoSuchDomain):
            await connection.call(_look_up("no-such-domain"))
        with pytest.raises(StokerError) as failed:
            await connection.call(lambda libvirt_itself: libvirt_itself.createXML("<domain/>"))
        assert failed.value.reason == "HYPERVISOR_FAILED"


async def test_where_no_libvirt_is_the_error_says_so() -> None:
    with pytest.raises(StokerError) as failed:
        async with connected("qemu+unix:///system?socket=/nonexistent"):
            raise AssertionError("it connected")
    assert failed.value.reason == "HYPERVISOR_UNAVAILABLE"


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    gate = threading.Event()
    async with connected(URI) as connection:
        with pytest.raises(StokerError, match="did not answer") as failed:
            await connection.call(lambda _: gate.wait(10), time_limit_s=0.1)
        assert failed.value.reason == "HYPERVISOR_UNAVAILABLE"
        gate.set()
        assert await connection.call(lambda libvirt_itself: libvirt_itself.isAlive()) == 1


async def test_more_calls_than_may_wait_are_refused() -> None:
    gate = threading.Event()
    async with connected(URI) as connection, asyncio.TaskGroup() as group:
        for _ in range(libvirt_connection.MAX_WAITING):
            group.create_task(connection.call(lambda _: gate.wait(10)))
        await asyncio.sleep(0)
        with pytest.raises(StokerError) as refused:
            await connection.call(lambda libvirt_itself: libvirt_itself.isAlive())
        assert refused.value.reason == "HYPERVISOR_BUSY"
        gate.set()


async def test_a_lost_connection_is_made_again_and_whoever_depends_on_it_is_told(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "libvirt.sock") as proxy, connected(proxy.uri) as connection:
        is_back = asyncio.Event()
        connection.on_reconnected = is_back.set
        proxy.stop()
        with pytest.raises(StokerError) as failed:
            await _call_until_it_fails(connection)
        assert failed.value.reason == "HYPERVISOR_UNAVAILABLE"
        await proxy.start()
        async with asyncio.timeout(10):
            await is_back.wait()
        with pytest.raises(NoSuchDomain):
            await connection.call(_look_up("no-such-domain"))
