"""The side that calls."""

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any

from stoker_ttrpc.calls import Call
from stoker_ttrpc.errors import Code, ConnectionLost, RpcError
from stoker_ttrpc.frames import (
    END_OF_STREAM,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    PREAMBLE_BYTES,
    Decoder,
    Desynchronized,
    Flags,
    Frame,
    FrameType,
    Preamble,
)
from stoker_ttrpc.messages import Message, MessageType, parse
from stoker_ttrpc.streams import STALL_S, FrameReader, FrameSender, Reader, Writer

PREAMBLE_INTERVAL_S = 0.1
"""How often the preamble is sent until the peer has echoed it. A guest that boots throws away what comes before its
agent has opened the port, so that it is this that the agent waits for. They add up to 24 bytes each while nobody
reads, for as long as `synchronize` may take."""


class Client:
    """Calls over one connection.

    `synchronize` first, then `run` in a task of the caller's for as long as calls are made. A connection that has
    broken stays broken: a new one needs a new client.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        transport_request_class: type[Any],
        transport_response_class: type[Any],
        *,
        stall_s: float = STALL_S,
    ) -> None:
        """Makes a client.

        Args:
            reader: What the peer sends.
            writer: What the peer gets. The caller closes it.
            transport_request_class: The message with `service`, `method`, `payload` and `timeout_nano`.
            transport_response_class: The message with `status` (`code`, `message`) and `payload`.
            stall_s: How long a frame may make no progress before the connection counts as lost.
        """
        self._request_class = transport_request_class
        self._response_class = transport_response_class
        self._preamble = MAGIC + os.urandom(PREAMBLE_BYTES - len(MAGIC))
        self._frames = FrameReader(reader, Decoder(self._preamble), stall_s)
        self._sender = FrameSender(writer)
        self._stream_ids = itertools.count(1, 2)
        self._calls: dict[int, Call] = {}
        self._lost: str | None = "the connection has not been synchronized"
        self._to_cancel: deque[int] = deque()
        self._has_to_cancel = asyncio.Event()

    async def synchronize(self, timeout_s: float) -> None:
        """Agrees with the peer where the connection begins; whatever the peer sent before is thrown away.

        Raises:
            TimeoutError: The peer didn't answer within `timeout_s` seconds.
            ConnectionLost: The connection broke.
        """
        why = None
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                asking = group.create_task(self._ask())
                await self._await_echo()
                asking.cancel()
        except* ConnectionLost as lost:
            # Before Python 3.11.4 what is raised here would be put into a group.
            why = str(lost.exceptions[0])
        if why is not None:
            raise ConnectionLost(why)
        self._lost = None

    async def _ask(self) -> None:
        while True:
            await self._sender.send_bytes(self._preamble)
            await asyncio.sleep(PREAMBLE_INTERVAL_S)

    async def _await_echo(self) -> None:
        while (events := await self._frames.read()) is not None:
            # Behind the echo there are at the most more echoes, since nothing has been asked yet.
            if any(isinstance(event, Preamble) for event in events):
                return
        raise ConnectionLost("the peer closed the connection before it answered")

    async def run(self) -> str:
        """Reads answers until the connection breaks, and returns why it did. Calls under way raise `ConnectionLost`."""
        reason = "the client was stopped"
        try:
            async with asyncio.TaskGroup() as group:
                cancelling = group.create_task(self._send_cancels())
                reason = await self._receive()
                cancelling.cancel()
        finally:
            self._lost = reason
            calls, self._calls = self._calls, {}
            for call in calls.values():
                call.fail(ConnectionLost(reason))
        return reason

    async def _receive(self) -> str:
        while (events := await self._frames.read()) is not None:
            for event in events:
                match event:
                    case Frame():
                        # A frame of a call that was cancelled may still have been on its way.
                        if (call := self._calls.get(event.stream_id)) is not None:
                            call.take(event)
                    case Preamble(token):
                        # There is an echo of each preamble that was sent while the peer was slow.
                        if token != self._preamble:
                            return "the peer began another connection"
                    case Desynchronized(reason):
                        return f"the peer sent nonsense: {reason}"
        return "the peer closed the connection"

    async def _send_cancels(self) -> None:
        while True:
            await self._has_to_cancel.wait()
            while self._to_cancel:
                try:
                    await self._sender.send(Frame(self._to_cancel.popleft(), FrameType.DATA, END_OF_STREAM))
                except ConnectionLost:
                    return  # the receiving side finds out as well
            self._has_to_cancel.clear()

    async def call(
        self, service: str, method: str, request: Message, response_class: type[MessageType], timeout_s: float
    ) -> MessageType:
        """Makes a call and returns its response. If this task is cancelled, the call is.

        Args:
            service: The service's full name.
            method: The method's name.
            request: What is sent.
            response_class: What the peer answers with.
            timeout_s: How long it may take.

        Raises:
            RpcError: The peer answered with a failure, or what it answered can't be read.
            ConnectionLost: The connection broke, before or during the call.
            TimeoutError: It took longer; the call is cancelled.
        """
        async with asyncio.timeout(timeout_s):
            with self._calling() as call:
                await self._send_request(call, service, method, request, int(timeout_s * 1e9))
                try:
                    payload = await call.next_payload()
                except RpcError as error:
                    # The peer keeps the same limit, and may be quicker.
                    if error.code == Code.DEADLINE_EXCEEDED:
                        raise TimeoutError(error.message) from error
                    raise
                if payload is None:
                    raise RpcError(Code.INTERNAL, f"the peer ended {method} without an answer")
                return parse(payload, response_class, Code.INTERNAL)

    async def stream(
        self, service: str, method: str, request: Message, response_class: type[MessageType]
    ) -> AsyncIterator[MessageType]:
        """Makes a call and yields its responses, without a limit on the time. Closing the iterator cancels the call.

        Raises:
            RpcError: The peer ended the stream with a failure, or what it sent can't be read. RESOURCE_EXHAUSTED: the
                stream was read too slowly.
            ConnectionLost: The connection broke, before or during the call.
        """
        with self._calling() as call:
            await self._send_request(call, service, method, request, 0)
            while (payload := await call.next_payload()) is not None:
                yield parse(payload, response_class, Code.INTERNAL)

    @contextmanager
    def _calling(self) -> Generator[Call]:
        """Opens a stream for one call. On leaving, a call that has not been answered is cancelled at the peer."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        call = Call(next(self._stream_ids), self._response_class)
        self._calls[call.stream_id] = call
        try:
            yield call
        finally:
            self._calls.pop(call.stream_id, None)
            if not call.is_answered and self._lost is None:
                self._to_cancel.append(call.stream_id)
                self._has_to_cancel.set()

    async def _send_request(self, call: Call, service: str, method: str, request: Message, timeout_ns: int) -> None:
        payload = self._request_class(
            service=service, method=method, payload=request.SerializeToString(), timeout_nano=timeout_ns
        ).SerializeToString()
        if len(payload) > MAX_PAYLOAD_BYTES:
            call.is_answered = True
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"{method}: the request has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} fit into a frame",
            )
        await self._sender.send(Frame(call.stream_id, FrameType.REQUEST, Flags.REMOTE_CLOSED, payload))
