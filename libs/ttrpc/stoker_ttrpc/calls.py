"""One call under way, as the side that calls sees it."""

import asyncio
from collections import deque
from typing import Any

from stoker_ttrpc.errors import Code, RpcError
from stoker_ttrpc.frames import MAX_PAYLOAD_BYTES, Flags, Frame, FrameType
from stoker_ttrpc.messages import parse

MAX_UNREAD_MESSAGES = 1024
MAX_UNREAD_BYTES = 2 * MAX_PAYLOAD_BYTES
"""How much of a stream may wait for its reader. Whoever falls behind by more loses the stream, so nobody else waits."""


class Call:
    """What has been answered to one call, and not been read yet."""

    def __init__(self, stream_id: int, transport_response_class: type[Any]) -> None:
        self.stream_id = stream_id
        self.is_answered = False
        """Whether the peer has ended the call, so that there is nothing to cancel."""
        self._transport_response_class = transport_response_class
        self._payloads: deque[bytes] = deque()
        self._unread_bytes = 0
        self._failure: Exception | None = None
        self._is_ended = False
        self._changed = asyncio.Event()

    def take(self, frame: Frame) -> None:
        """Takes a frame that the peer has sent on the call's stream."""
        if self._is_ended:
            return
        match frame.type:
            case FrameType.RESPONSE:
                self.is_answered = True
                self._take_response(frame.payload)
            case FrameType.DATA:
                if not frame.flags & Flags.NO_DATA:
                    self._add(frame.payload)
                if frame.flags & Flags.REMOTE_CLOSED:
                    self.is_answered = True
                    self._end(None)
            case FrameType.REQUEST:
                self._end(RpcError(Code.INTERNAL, "the peer sent a request, which only this side may"))

    def fail(self, failure: Exception) -> None:
        """Ends the call with a failure, behind what has come already."""
        if not self._is_ended:
            self._end(failure)

    async def next_payload(self) -> bytes | None:
        """Waits for the next message; None when the peer has ended the call well.

        Raises:
            RpcError: The call has failed.
            ConnectionLost: The connection broke.
        """
        while not self._payloads:
            if self._failure is not None:
                raise self._failure
            if self._is_ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        payload = self._payloads.popleft()
        self._unread_bytes -= len(payload)
        return payload

    def _take_response(self, payload: bytes) -> None:
        try:
            response = parse(payload, self._transport_response_class, Code.INTERNAL)
        except RpcError as error:
            self._end(error)
            return
        if response.status.code:
            self._end(RpcError(response.status.code, response.status.message))
        else:
            self._add(response.payload)
            self._end(None)

    def _add(self, payload: bytes) -> None:
        self._payloads.append(payload)
        self._unread_bytes += len(payload)
        self._changed.set()
        if len(self._payloads) > MAX_UNREAD_MESSAGES or self._unread_bytes > MAX_UNREAD_BYTES:
            self._end(RpcError(Code.RESOURCE_EXHAUSTED, "the stream was read more slowly than the peer sent"))

    def _end(self, failure: Exception | None) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._failure = failure
            self._changed.set()
