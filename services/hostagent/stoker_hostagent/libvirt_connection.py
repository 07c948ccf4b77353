"""The connection to libvirt: calls that never block the event loop, events, and reconnecting.

libvirt's calls block, so they run in a few threads, each call with a time limit. libvirt's events come in a thread of
their own and are handed over to the event loop. Only this module and `libvirt_domains.py` know libvirt.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import libvirt
import structlog
from stoker_service.background import background
from stoker_service.errors import StokerError

from stoker_hostagent import vm_errors

log = structlog.get_logger()

Result = TypeVar("Result")

CALL_S = 30.0
"""How long a call may take, in seconds. Creating a domain takes 0.7 s, destroying one up to 10 s if QEMU hangs."""
CONNECT_S = 10.0
THREADS = 4
MAX_WAITING = 64
KEEPALIVE_S = 5
KEEPALIVE_MISSES = 3
RECONNECT_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""How long to wait before each attempt to connect again, in seconds; the last for all that follow."""


class NoSuchDomain(Exception):
    """libvirt knows no domain of that name."""


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """A domain has started or stopped."""

    name: str
    is_running: bool
    uuid: str = ""
    """Which of the domains that have had this name."""


class LibvirtConnection:
    """A connection that is made again whenever it breaks. VMs live on while libvirt is away."""

    def __init__(self, uri: str) -> None:
        """Begins unconnected."""
        self._uri = uri
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._room = threading.BoundedSemaphore(MAX_WAITING)
        self._connection: libvirt.virConnect | None = None
        self._is_connected = asyncio.Event()
        self._has_closed = asyncio.Event()
        self._events_id = 0
        self.on_event: Callable[[DomainEvent], None] = _ignore_event
        """Told of each domain that starts or stops."""
        self.on_reconnected: Callable[[], None] = _ignore
        """Told when libvirt is back, and events may have been missed."""

    async def call(self, operation: Callable[[libvirt.virConnect], Result], time_limit_s: float = CALL_S) -> Result:
        """Runs an operation on the connection in a thread.

        One that exceeds its limit may still be carried out.

        Raises:
            StokerError: HYPERVISOR_UNAVAILABLE (also after the limit), HYPERVISOR_FAILED, HYPERVISOR_BUSY.
            NoSuchDomain: The operation is about a domain that is not there.
        """
        connection = self._connection
        if connection is None:
            raise vm_errors.hypervisor_unavailable(f"there is no connection to {self._uri}")
        try:
            async with asyncio.timeout(time_limit_s):
                return await self._in_thread(lambda: operation(connection))
        except TimeoutError as error:
            raise vm_errors.hypervisor_unavailable(f"it did not answer for {time_limit_s:g} s") from error
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise NoSuchDomain from error
            if self._connection is not connection or not connection.isAlive():
                raise vm_errors.hypervisor_unavailable(str(error)) from error
            raise vm_errors.hypervisor_failed(str(error)) from error

    async def wait_connected(self) -> None:
        """Returns when libvirt is there."""
        await self._is_connected.wait()

    async def connect(self) -> None:
        """Connects, once.

        Raises:
            StokerError: HYPERVISOR_UNAVAILABLE, HYPERVISOR_BUSY.
        """
        _start_events()
        self._has_closed.clear()
        try:
            async with asyncio.timeout(CONNECT_S):
                self._connection = await self._in_thread(self._open)
        except TimeoutError as error:
            raise vm_errors.hypervisor_unavailable(f"{self._uri} did not answer for {CONNECT_S:g} s") from error
        except libvirt.libvirtError as error:
            raise vm_errors.hypervisor_unavailable(str(error)) from error
        self._is_connected.set()

    async def keep(self) -> None:
        """Connects again whenever the connection has broken, for ever."""
        while True:
            await self._has_closed.wait()
            log.warning("libvirt.lost", uri=self._uri)
            await self._disconnect()
            await self._reconnect()
            log.info("libvirt.reconnected", uri=self._uri)
            self.on_reconnected()

    async def close(self) -> None:
        """Ends the connection; nobody is told anything any more.

        Calls that hang are left to the keepalive, which breaks them off within 20 s.
        """
        self.on_event, self.on_reconnected = _ignore_event, _ignore
        await self._disconnect()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _reconnect(self) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
            attempt += 1
            try:
                await self.connect()
            except StokerError as error:
                log.warning("libvirt.unavailable", uri=self._uri, attempt=attempt, message=error.message)
            else:
                return

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._is_connected.clear()
        if connection is None:
            return
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._in_thread(functools.partial(self._close, connection))
        except (TimeoutError, libvirt.libvirtError, StokerError) as error:
            log.warning("libvirt.not_closed", uri=self._uri, message=str(error))

    def _open(self) -> libvirt.virConnect:
        connection = libvirt.open(self._uri)
        connection.registerCloseCallback(self._closed, None)
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_MISSES)
        self._events_id = connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._happened, None
        )
        return connection

    def _close(self, connection: libvirt.virConnect) -> None:
        """Closes a connection, which lives on for as long as anything is registered with it."""
        connection.unregisterCloseCallback()
        with suppress(libvirt.libvirtError):  # a broken connection cannot tell its server, and forgets it all the same
            connection.domainEventDeregisterAny(self._events_id)
        connection.close()

    def _closed(self, _connection: libvirt.virConnect, _reason: int, _opaque: None) -> None:
        self._hand_over(self._has_closed.set)

    def _happened(
        self, _connection: libvirt.virConnect, domain: libvirt.virDomain, event: int, _detail: int, _opaque: None
    ) -> None:
        if event in (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STOPPED):
            told = DomainEvent(domain.name(), event == libvirt.VIR_DOMAIN_EVENT_STARTED, domain.UUIDString())
            self._hand_over(lambda: self.on_event(told))

    def _hand_over(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop has ended, and with it everybody who could want to know.
            return

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        if not self._room.acquire(blocking=False):
            raise vm_errors.hypervisor_busy()
        submitted = self._threads.submit(work)
        submitted.add_done_callback(self._leave)
        return await asyncio.wrap_future(submitted)

    def _leave(self, _done: "Future[Result]") -> None:
        self._room.release()


@asynccontextmanager
async def connected(uri: str) -> AsyncGenerator[LibvirtConnection]:
    """Keeps a connection while the context is entered.

    Raises:
        StokerError: HYPERVISOR_UNAVAILABLE.
    """
    connection = LibvirtConnection(uri)
    try:
        await connection.connect()
        async with background() as tasks:
            tasks.start(connection.keep(), "keep the connection to libvirt")
            yield connection
    finally:
        await connection.close()


@functools.cache
def _start_events() -> None:
    """Begins to wait for libvirt's events, once in the process's life and before the first connection."""
    libvirt.registerErrorHandler(_ignore_error, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ignore_error(_context: object, _error: object) -> None:
    """libvirt would print each error, which comes as an exception all the same."""


def _ignore_event(_event: DomainEvent) -> None:
    """Nobody wants to know."""


def _ignore() -> None:
    """Nobody wants to know."""
