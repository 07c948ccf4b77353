"""Frames over byte streams: reading that notices a peer which vanished midway, and sending that shares fairly."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from stoker_ttrpc.errors import ConnectionLost
from stoker_ttrpc.frames import Decoder, Desynchronized, Event, Frame

STALL_S = 5.0
"""How long a frame may stay incomplete without progress."""

STALL_PROGRESS_BYTES = 16 * 1024
"""What counts as progress within `STALL_S`. The preambles of a peer that came back, ten a second, don't: they arrive
inside the frame that it left half-sent."""

BULK_BYTES = 64 * 1024
"""Frames longer than this let shorter ones go first."""

MAX_OVERTAKING = 16
"""How many short frames may go before a long one that waits."""

_READ_BYTES = 256 * 1024


class Reader(Protocol):
    """What is read from; `asyncio.StreamReader` is one."""

    async def read(self, n: int) -> bytes:
        """Up to `n` bytes as soon as there are some; none when the peer is gone."""
        ...


class Writer(Protocol):
    """What is written to; `asyncio.StreamWriter` is one."""

    def write(self, data: bytes) -> None:
        """Takes bytes to be sent."""
        ...

    async def drain(self) -> None:
        """Returns when there is room for more bytes; raises OSError where the peer is gone."""
        ...


class FrameReader:
    """Reads what a peer sends, through a decoder."""

    def __init__(self, reader: Reader, decoder: Decoder, stall_s: float = STALL_S) -> None:
        self._reader = reader
        self._decoder = decoder
        self._stall_s = stall_s
        self._progress_bytes = 0
        self._deadline_s: float | None = None

    async def read(self) -> Sequence[Event] | None:
        """Waits for bytes, and returns what is complete with them; None when the peer is gone.

        A frame that stalls counts as desynchronization: the decoder then seeks.
        """
        try:
            if self._deadline_s is None:
                data = await self._reader.read(_READ_BYTES)
            else:
                async with asyncio.timeout_at(self._deadline_s):
                    data = await self._reader.read(_READ_BYTES)
        except TimeoutError:
            self._decoder.seek()
            self._deadline_s = None
            return [Desynchronized(f"a frame made no progress for {self._stall_s:g} s")]
        except OSError:
            return None
        if not data:
            return None
        events = list(self._decoder.feed(data))
        self._watch(len(data), is_new=bool(events))
        return events

    def _watch(self, received: int, *, is_new: bool) -> None:
        self._progress_bytes += received
        if not self._decoder.is_midway:
            self._deadline_s = None
        elif is_new or self._deadline_s is None or self._progress_bytes >= STALL_PROGRESS_BYTES:
            self._progress_bytes = 0
            self._deadline_s = asyncio.get_running_loop().time() + self._stall_s


class FrameSender:
    """Writes frames whole, one after another, short ones before long ones.

    A frame can't be interrupted (ttrpc has no fragments), so a short one waits at the most for the long one that is
    under way. No task of its own: whoever sends, writes. The bytes that wait are those of the callers that wait, and
    one frame.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._is_writing = False
        self._short: deque[asyncio.Future[None]] = deque()
        self._long: deque[asyncio.Future[None]] = deque()
        self._overtaking = 0

    async def send(self, frame: Frame) -> None:
        """Sends a frame; returns when there is room for the next.

        A caller that is cancelled while it waits for its turn has sent nothing; one that is cancelled later has sent
        the whole frame.

        Raises:
            ConnectionLost: The peer is gone.
        """
        if len(frame.payload) > BULK_BYTES:
            await self._send((frame.header(), frame.payload), self._long)
        else:
            await self._send((frame.to_bytes(),), self._short)

    async def send_bytes(self, data: bytes) -> None:
        """Sends bytes that are no frame, as `send` does."""
        await self._send((data,), self._short)

    async def _send(self, parts: Sequence[bytes], queue: deque[asyncio.Future[None]]) -> None:
        await self._take_turn(queue)
        try:
            # What a cancelled caller has left behind goes first, so that no more than one frame is ever buffered.
            await self._writer.drain()
            for part in parts:
                self._writer.write(part)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLost(f"cannot write: {error}") from error
        finally:
            self._pass_turn()

    async def _take_turn(self, queue: deque[asyncio.Future[None]]) -> None:
        if not self._is_writing:
            self._is_writing = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_turn()
            raise

    def _pass_turn(self) -> None:
        while queue := self._next_queue():
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._is_writing = False

    def _next_queue(self) -> deque[asyncio.Future[None]]:
        if self._long and (not self._short or self._overtaking >= MAX_OVERTAKING):
            self._overtaking = 0
            return self._long
        if self._long:
            self._overtaking += 1
        return self._short
