"""The side that answers."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from stoker_ttrpc.eager import Begun
from stoker_ttrpc.errors import Code, ConnectionLost, RpcError
from stoker_ttrpc.frames import END_OF_STREAM, MAX_PAYLOAD_BYTES, Decoder, Flags, Frame, FrameType, Preamble
from stoker_ttrpc.messages import Message, parse
from stoker_ttrpc.streams import STALL_S, FrameReader, FrameSender, Reader, Writer

MAX_CALLS = 256
MAX_REQUEST_BYTES = 64 * 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A method that answers once."""

    request_class: type[Message]
    answer: Callable[[Any], Coroutine[Any, Any, Message]]
    is_eager: bool = False
    """Whether it begins at once, and gets a task only if it has to wait: `eager.Begun` says what it must not do before.
    It keeps its own limit on the time, not the caller's."""


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A method that answers with a stream."""

    request_class: type[Message]
    answer: Callable[[Any], AsyncGenerator[Message, None]]


Method: TypeAlias = UnaryMethod | StreamMethod
Services: TypeAlias = Mapping[str, Mapping[str, Method]]
"""Methods by the full name of their service and their own name."""


class Server:
    """Answers calls, on one connection or several.

    A call is a task, unless it is answered without waiting. It is cancelled when its caller cancels the call, or when
    the connection breaks.
    """

    def __init__(
        self,
        services: Services,
        transport_request_class: type[Any],
        transport_response_class: type[Any],
        *,
        max_calls: int = MAX_CALLS,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        stall_s: float = STALL_S,
    ) -> None:
        """Makes a server.

        Args:
            services: What can be called.
            transport_request_class: The message with `service`, `method`, `payload` and `timeout_nano`.
            transport_response_class: The message with `status` (`code`, `message`) and `payload`.
            max_calls: How many calls of a connection may be under way. Others are refused.
            max_request_bytes: How large their requests may be altogether. Others are refused.
            stall_s: How long a frame may make no progress before its sender counts as gone.
        """
        self._services = services
        self._request_class = transport_request_class
        self._response_class = transport_response_class
        self._max_calls = max_calls
        self._max_request_bytes = max_request_bytes
        self._stall_s = stall_s

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answers until the peer is gone; then all its calls have been cancelled.

        A peer that breaks the protocol, or vanishes and comes back, must begin anew with a preamble.
        """
        frames = FrameReader(reader, Decoder(), self._stall_s)
        is_open = False
        sender = FrameSender(writer)
        async with asyncio.TaskGroup() as group:
            calls = _Calls(group)
            try:
                while (events := await frames.read()) is not None:
                    for event in events:
                        match event:
                            case Frame() if not is_open:
                                continue
                            case Frame():
                                reason = await self._take(event, calls, sender)
                            case Preamble(token):
                                await calls.cancel_all()
                                is_open = True
                                await sender.send_bytes(token)
                                continue
                            case _:
                                reason = event.reason
                        if reason:
                            log.warning("waiting for the peer to begin anew: %s", reason)
                            is_open = False
                            await calls.cancel_all()
            except ConnectionLost as lost:
                log.warning("%s", lost)
            finally:
                await calls.cancel_all()

    async def _take(self, frame: Frame, calls: "_Calls", sender: FrameSender) -> str:
        """Takes a frame; returns how it breaks the protocol, empty where it doesn't."""
        match frame.type:
            case FrameType.REQUEST if frame.stream_id in calls:
                return f"a second request on stream {frame.stream_id}"
            case FrameType.REQUEST if len(calls) >= self._max_calls:
                await self._refuse(sender, frame, f"{self._max_calls} calls")
            case FrameType.REQUEST if calls.request_bytes + len(frame.payload) > self._max_request_bytes:
                await self._refuse(sender, frame, f"requests of {self._max_request_bytes} bytes")
            case FrameType.REQUEST:
                calls.start(frame, self._answer(frame, sender))
            case FrameType.DATA if frame.flags & Flags.REMOTE_CLOSED:
                calls.cancel(frame.stream_id)
            case FrameType.DATA:
                return "a stream of requests, which no method takes"
            case FrameType.RESPONSE:
                return "a response, which only this side may send"
        return ""

    async def _refuse(self, sender: FrameSender, frame: Frame, limit: str) -> None:
        # Nothing more is read meanwhile: a peer that floods and doesn't read has to wait.
        error = RpcError(Code.RESOURCE_EXHAUSTED, f"{limit} are under way, the most there may be; try again later")
        await sender.send(Frame(frame.stream_id, FrameType.RESPONSE, Flags.NONE, self._failure(error)))

    async def _answer(self, frame: Frame, sender: FrameSender) -> None:
        try:
            response = await self._run(frame, sender)
        except RpcError as error:
            response = self._failure(error)
        except ConnectionLost:
            return
        if response is not None:
            try:
                await sender.send(Frame(frame.stream_id, FrameType.RESPONSE, Flags.NONE, response))
            except ConnectionLost:
                return  # the reading side finds out as well

    async def _run(self, frame: Frame, sender: FrameSender) -> bytes | None:
        """Runs a method. Returns the response frame's payload, or None where a stream has been sent and ended.

        Raises:
            RpcError: What the method raised, or what is wrong with the request.
            ConnectionLost: A stream could not be sent.
        """
        call = parse(frame.payload, self._request_class, Code.INVALID_ARGUMENT)
        name = f"{call.service}/{call.method}"
        method = self._services.get(call.service, {}).get(call.method)
        if method is None:
            raise RpcError(Code.UNIMPLEMENTED, f"{name} is not known")
        request = parse(call.payload, method.request_class, Code.INVALID_ARGUMENT)
        limit: asyncio.Timeout | None = None
        try:
            if isinstance(method, UnaryMethod) and method.is_eager:
                return self._success(await method.answer(request))
            await asyncio.sleep(0)  # from here on it is a task
            limit = asyncio.timeout(call.timeout_nano / 1e9 if call.timeout_nano > 0 else None)
            async with limit:
                match method:
                    case UnaryMethod():
                        return self._success(await method.answer(request))
                    case StreamMethod():
                        await self._send_stream(method, request, frame.stream_id, sender)
                        return None
        except (RpcError, ConnectionLost):
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit is not None and limit.expired():
                raise RpcError(Code.DEADLINE_EXCEEDED, f"{name} took longer than the caller waits") from None
            log.exception("%s failed", name)
            raise RpcError(Code.INTERNAL, f"{name} failed: {type(error).__name__}: {error}") from error

    async def _send_stream(self, method: StreamMethod, request: Message, stream_id: int, sender: FrameSender) -> None:
        async with aclosing(method.answer(request)) as responses:
            async for response in responses:
                await sender.send(Frame(stream_id, FrameType.DATA, Flags.NONE, _fitting(response)))
        await sender.send(Frame(stream_id, FrameType.DATA, END_OF_STREAM))

    def _success(self, response: Message) -> bytes:
        return _fitting(self._response_class(payload=response.SerializeToString()))

    def _failure(self, error: RpcError) -> bytes:
        response = self._response_class()
        response.status.code = error.code
        response.status.message = error.message
        return response.SerializeToString()


class _Calls:
    """The calls under way on one connection, and the tasks that answer them."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.request_bytes = 0
        """How large their requests are."""

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, frame: Frame, answering: Coroutine[Any, Any, None]) -> None:
        """Starts answering a request."""
        begun = Begun(answering)
        if begun.is_done:
            return
        task = self._group.create_task(begun.rest())
        self._tasks[frame.stream_id] = task
        self.request_bytes += len(frame.payload)

        def ended(_: asyncio.Task[None], stream_id: int = frame.stream_id, size: int = len(frame.payload)) -> None:
            del self._tasks[stream_id]
            self.request_bytes -= size

        task.add_done_callback(ended)

    def cancel(self, stream_id: int) -> None:
        """Cancels a call; one that has ended meanwhile is left so."""
        if (task := self._tasks.get(stream_id)) is not None:
            _cancel(task)

    async def cancel_all(self) -> None:
        """Cancels all calls, and returns when they have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            _cancel(task)
        if tasks:
            await asyncio.wait(tasks)


def _cancel(task: asyncio.Task[None]) -> None:
    # Not before its first step, since what it has begun would not notice.
    asyncio.get_running_loop().call_soon(task.cancel)


def _fitting(message: Any) -> bytes:
    payload: bytes = message.SerializeToString()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RpcError(
            Code.RESOURCE_EXHAUSTED,
            f"the response has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} fit into a frame",
        )
    return payload
