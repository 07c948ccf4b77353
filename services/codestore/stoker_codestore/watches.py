"""Who wants to know of changed functions, and what they have not been told yet."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from stoker_service.errors import StokerError

from stoker_codestore import errors

MAX_PENDING = 1024
"""How many changed functions a watcher may lag behind before its watch is ended."""
OPENING_S = 5.0
"""How long a watch waits for changes to be known again, in seconds."""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A function whose routes, or whose concurrency, have changed."""

    tenant: str
    function: str


@dataclass(slots=True, eq=False)
class _Watcher:
    # In the order of their coming; a function that has changed twice is told of once.
    pending: dict[RouteChange, None] = field(default_factory=dict["RouteChange", None])
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ended: StokerError | None = None

    def end(self, error: StokerError) -> None:
        self.ended = error
        self.pending.clear()
        self.woken.set()


class Watches:
    """All watchers. It is open while every change becomes known here; else nobody could rely on it."""

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._max_pending = max_pending
        self._watchers: set[_Watcher] = set()
        self._opened = asyncio.Event()
        self._is_over = False

    def open(self) -> None:
        """Says that from now on every change is told."""
        self._opened.set()

    def close(self, why: str) -> None:
        """Ends all watches, since changes may have been missed."""
        self._opened.clear()
        for watcher in self._watchers:
            watcher.end(errors.watch_ended(why))

    def stop(self) -> None:
        """Ends all watches for good."""
        self._is_over = True
        self.close("the codestore stops")
        self._opened.set()

    def tell(self, change: RouteChange) -> None:
        """Tells all watchers. One that is too slow is cut off rather than waited for."""
        for watcher in self._watchers:
            if watcher.ended is not None:
                continue
            watcher.pending[change] = None
            if len(watcher.pending) > self._max_pending:
                watcher.end(errors.watch_ended(f"more than {self._max_pending} wait to be read"))
            watcher.woken.set()

    async def watch(self) -> AsyncGenerator[RouteChange | None]:
        """Yields None once the watch has begun, then each change.

        Raises:
            StokerError: WATCH_ENDED.
        """
        await self._wait_until_open()
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            yield None
            while True:
                await watcher.woken.wait()
                watcher.woken.clear()
                while watcher.pending:
                    change = next(iter(watcher.pending))
                    del watcher.pending[change]
                    yield change
                if watcher.ended is not None:
                    raise watcher.ended
        finally:
            self._watchers.discard(watcher)

    async def _wait_until_open(self) -> None:
        try:
            async with asyncio.timeout(OPENING_S):
                await self._opened.wait()
        except TimeoutError as error:
            raise errors.watch_ended("the database does not tell of changes") from error
        if self._is_over:
            raise errors.watch_ended("the codestore stops")
