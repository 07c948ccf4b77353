"""The way to one VM's guest agent: ttrpc through the UNIX socket where QEMU ends the guest's port.

The connection is made again whenever it breaks. A guest that has answered once and then is silent for long is lost.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
from stoker_protos.guest.v1 import guest_pb2, transport_pb2
from stoker_ttrpc.client import Client
from stoker_ttrpc.errors import ConnectionLost, RpcError
from stoker_ttrpc.messages import Message, MessageType

from stoker_hostagent import vm_errors

log = structlog.get_logger()

SERVICE = guest_pb2.DESCRIPTOR.services_by_name["GuestService"].full_name
SYNCHRONIZE_S = 30.0
"""How long one attempt to reach a guest may take, in seconds; a guest that boots is tried again."""
PING_S = 10.0
"""How often a guest is asked whether it is there, in seconds; more often where it may not be silent for so long."""
WATCH_AGAIN_S = 1.0
RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""How long to wait before each attempt to connect again, in seconds; the last for all that follow."""
_READ_AHEAD_BYTES = 1024 * 1024


class GuestChannel:
    """The connection to one guest agent."""

    def __init__(
        self, vm_id: str, socket: Path, unreachable_s: float, heard: Callable[[guest_pb2.WatchResponse], None]
    ) -> None:
        """Begins unconnected; `run` connects.

        Args:
            vm_id: The VM, for messages.
            socket: Where QEMU listens.
            unreachable_s: How long the guest may be silent after its first answer, in seconds.
            heard: Told what the guest reports by itself.
        """
        self._vm_id = vm_id
        self._socket = socket
        self._unreachable_s = unreachable_s
        self._heard = heard
        self._client: Client | None = None
        self._facts = guest_pb2.HelloResponse()
        self._has_changed = asyncio.Event()
        self._is_closed = False
        self._answered_s: float | None = None

    @property
    def vm_id(self) -> str:
        """The VM."""
        return self._vm_id

    async def run(self) -> None:
        """Keeps the connection; returns when the guest, which had answered before, has been silent for too long."""
        failures = 0
        while self._patience_s() > 0:
            reason = await _isolated(self._conversation())
            if self._client is not None:
                failures = 0
                log.warning("guest.disconnected", vm=self._vm_id, message=reason)
            self._client = None
            self._has_changed.clear()
            await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
            failures += 1

    async def wait_answer(self) -> guest_pb2.HelloResponse:
        """What the guest says of itself, as soon as it is connected.

        Raises:
            StokerError: GUEST_UNREACHABLE, when the VM has ended.
        """
        await self._connected()
        return self._facts

    async def call(
        self, method: str, request: Message, response_class: type[MessageType], timeout_s: float
    ) -> MessageType:
        """Calls the guest agent, waiting for the connection where it is just being made again.

        Raises:
            StokerError: GUEST_UNREACHABLE, `GUEST_<gRPC code>`.
        """
        try:
            client = self._client
            if client is None:
                async with asyncio.timeout(timeout_s):
                    client = await self._connected()
            return await client.call(SERVICE, method, request, response_class, timeout_s)
        except RpcError as error:
            raise vm_errors.guest_refused(self._vm_id, error.code, error.message) from error
        except ConnectionLost as error:
            raise vm_errors.guest_unreachable(self._vm_id, str(error)) from error
        except TimeoutError as error:
            raise vm_errors.guest_unreachable(
                self._vm_id, f"it did not answer {method} within {timeout_s:g} s"
            ) from error

    def close(self) -> None:
        """Lets whoever waits for the guest know that it never comes. Whoever runs `run` cancels it."""
        self._is_closed = True
        self._client = None
        self._has_changed.set()

    async def _connected(self) -> Client:
        while True:
            if self._is_closed:
                raise vm_errors.guest_unreachable(self._vm_id, "the VM has ended")
            if self._client is not None:
                return self._client
            await self._has_changed.wait()

    async def _conversation(self) -> str:
        """One connection, from its making to its end; returns why it ended."""
        reason = ""
        try:
            await self._converse()
        except* (OSError, ConnectionLost, RpcError, TimeoutError) as broken:
            reason = _message(broken)
        return reason

    async def _converse(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=_READ_AHEAD_BYTES)
        try:
            client = Client(reader, writer, transport_pb2.TransportRequest, transport_pb2.TransportResponse)
            await client.synchronize(min(SYNCHRONIZE_S, self._patience_s()))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._attend(client, group))
                raise ConnectionLost(await client.run())
        finally:
            # What is still to be sent is for a guest that does not read.
            writer.transport.abort()

    async def _attend(self, client: Client, group: asyncio.TaskGroup) -> None:
        self._facts = await self._ask(client)
        self._client = client
        self._has_changed.set()
        group.create_task(self._watch(client))
        group.create_task(self._ping(client))

    async def _ask(self, client: Client) -> guest_pb2.HelloResponse:
        patience_s = min(SYNCHRONIZE_S, self._patience_s())
        facts = await client.call(SERVICE, "Hello", guest_pb2.HelloRequest(), guest_pb2.HelloResponse, patience_s)
        self._answered_s = asyncio.get_running_loop().time()
        return facts

    async def _ping(self, client: Client) -> None:
        while True:
            await asyncio.sleep(min(PING_S, self._unreachable_s / 3))
            await self._ask(client)

    async def _watch(self, client: Client) -> None:
        while True:
            try:
                async for event in client.stream(SERVICE, "Watch", guest_pb2.WatchRequest(), guest_pb2.WatchResponse):
                    self._heard(event)
            except RpcError as error:
                log.warning("guest.watch_ended", vm=self._vm_id, message=str(error))
            # Not by a new connection, which would end the invocations that run.
            await asyncio.sleep(WATCH_AGAIN_S)

    def _patience_s(self) -> float:
        """How much longer the guest may be silent, in seconds; one that boots may be so for ever."""
        if self._answered_s is None:
            return SYNCHRONIZE_S
        return self._answered_s + self._unreachable_s - asyncio.get_running_loop().time()


async def _isolated(work: Coroutine[Any, Any, str]) -> str:
    """Does work in a task of its own: in a task group, a cancellation that meets another failure is lost."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
        await asyncio.wait([task])
    return task.result()


def _message(broken: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = broken
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
