"""A simulated host's stream to the real scheduler: it can break, stall, and say things twice."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Self

from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_scheduler.core import Core
from stoker_service.background import Background
from stoker_service.errors import StokerError


class AgentStream:
    """The stream of one host. What comes late by a stall comes in its order."""

    def __init__(
        self,
        core: Core,
        background: Background,
        take: Callable[[hosts_pb2.ConnectResponse], None],
        is_told_twice: Callable[[], bool],
    ) -> None:
        """Begins closed.

        Args:
            core: The scheduler.
            background: What owns the reading.
            take: Begins to carry out a command.
            is_told_twice: Says whether the next report is to be made twice.
        """
        self._core = core
        self._background = background
        self._take = take
        self._is_told_twice = is_told_twice
        self._loop = asyncio.get_running_loop()
        self._outbox: _Outbox | None = None
        self._held: deque[Callable[[], None]] = deque()
        """What is said and heard during a stall, and done after it."""
        self._stalled_until_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the stream stands."""
        return self._outbox is not None

    def open(self, host: str, snapshot: hosts_pb2.HostSnapshot) -> None:
        """Opens the stream."""
        outbox = _Outbox()
        outbox.put(hosts_pb2.ConnectRequest(snapshot=snapshot))
        self._outbox = outbox
        self._background.start(self._converse(outbox), f"agent of {host}")

    def close(self) -> None:
        """Breaks the stream; what is under way on it is lost."""
        if self._outbox is not None:
            self._outbox.put(None)
            self._outbox = None
            self._held.clear()

    def stall(self, for_s: float) -> None:
        """Lets nothing through for a while."""
        self._stalled_until_s = self._loop.time() + for_s
        self._loop.call_at(self._stalled_until_s, self._go_on)

    def report(self, report: hosts_pb2.ConnectRequest) -> None:
        """Reports something; where there is no stream, the next snapshot tells it."""
        if self._outbox is None:
            return
        for _ in range(2 if self._is_told_twice() else 1):
            if self._stalled_until_s:
                self._held.append(partial(self._outbox.put, report))
            else:
                self._outbox.put(report)

    async def _converse(self, outbox: "_Outbox") -> None:
        try:
            async with aclosing(self._core.streams.serve(outbox, self._core.reports)) as commands:
                async for command in commands:
                    # What still comes over a stream that has broken does not arrive.
                    if self._outbox is outbox:
                        self._hear(command)
        except StokerError:
            # Another stream has taken its place.
            pass

    def _hear(self, command: hosts_pb2.ConnectResponse) -> None:
        if self._stalled_until_s:
            self._held.append(partial(self._take, command))
        else:
            self._take(command)

    def _go_on(self) -> None:
        if self._loop.time() < self._stalled_until_s:
            # It stalled again meanwhile, for longer.
            return
        self._stalled_until_s = 0.0
        while self._held:
            self._held.popleft()()


class _Outbox:
    """What is to go to the scheduler over one stream, for one reader."""

    def __init__(self) -> None:
        self._messages: deque[hosts_pb2.ConnectRequest | None] = deque()
        self._filled: asyncio.Future[None] | None = None

    def put(self, message: hosts_pb2.ConnectRequest | None) -> None:
        """Adds a message; None ends the stream."""
        self._messages.append(message)
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> hosts_pb2.ConnectRequest:
        while not self._messages:
            self._filled = asyncio.get_running_loop().create_future()
            await self._filled
        message = self._messages.popleft()
        if message is None:
            raise StopAsyncIteration
        return message
