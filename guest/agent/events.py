"""What happens by itself in the VM, on its way to the host: a queue with a limit, which never waits.

Lines are dropped when the host is slower than the containers print, and counted; ends of containers never are: there
can't be more of them than containers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeAlias

MAX_WAITING_BYTES = 1024 * 1024
MAX_BATCH_LINES = 256
MAX_BATCH_BYTES = 64 * 1024
LINE_OVERHEAD_BYTES = 64
"""About what a line costs beside its text, so that empty ones have a limit too."""
MAX_EXITS = 1024
MAX_DROPPED_KEYS = 1024
"""Of how many invocations dropped lines are counted while nobody reads."""


@dataclass(frozen=True, slots=True)
class Exited:
    """A container ended by itself, outside an invocation."""

    container: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A container printed lines."""

    container: str
    invocation_id: str
    stream: str
    lines: tuple[str, ...]
    dropped: int = 0


Event: TypeAlias = Exited | Lines


class Events:
    """The queue. It has one reader, the newest."""

    def __init__(self, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._dropped: dict[tuple[str, str, str], int] = {}
        self._changed = asyncio.Event()
        self._reader: object | None = None

    def exited(self, container: str, reason: str) -> None:
        """Tells that a container has ended."""
        if sum(isinstance(event, Exited) for event in self._waiting) < MAX_EXITS:
            self._waiting.append(Exited(container, reason))
            self._changed.set()

    def printed(self, container: str, invocation_id: str, stream: str, lines: list[str]) -> None:
        """Tells that a container has printed lines."""
        key = (container, invocation_id, stream)
        batch: list[str] = []
        batch_bytes = 0
        for line in lines:
            size = _size(line)
            if self._waiting_bytes + batch_bytes + size > self._max_waiting_bytes:
                self._add(key, batch, batch_bytes)
                batch, batch_bytes = [], 0
                self._drop(key)
                continue
            if len(batch) >= MAX_BATCH_LINES or batch_bytes + size > MAX_BATCH_BYTES:
                self._add(key, batch, batch_bytes)
                batch, batch_bytes = [], 0
            batch.append(line)
            batch_bytes += size
        self._add(key, batch, batch_bytes)

    async def read(self) -> AsyncGenerator[Event, None]:
        """Yields what happens, from what nobody has read yet. It ends when somebody else reads."""
        me = self._reader = object()
        self._changed.set()
        while self._reader is me:
            if (event := self._next()) is not None:
                yield event
            else:
                self._changed.clear()
                await self._changed.wait()
        self._changed.set()

    def _add(self, key: tuple[str, str, str], lines: list[str], size: int) -> None:
        if lines:
            self._waiting.append(Lines(*key, tuple(lines), self._dropped.pop(key, 0)))
            self._waiting_bytes += size
            self._changed.set()

    def _drop(self, key: tuple[str, str, str]) -> None:
        if key in self._dropped or len(self._dropped) < MAX_DROPPED_KEYS:
            self._dropped[key] = self._dropped.get(key, 0) + 1

    def _next(self) -> Event | None:
        if self._waiting:
            event = self._waiting.popleft()
            if isinstance(event, Lines):
                self._waiting_bytes -= sum(_size(line) for line in event.lines)
            return event
        if self._dropped:
            key, dropped = self._dropped.popitem()
            return Lines(*key, (), dropped)
        return None


def _size(line: str) -> int:
    return len(line) + LINE_OVERHEAD_BYTES
