"""Time that passes only when nothing is left to do now.

An event loop of asyncio with a virtual clock: the code that runs on it is the real one, with its tasks, timeouts and
sleeps, and an hour passes as fast as its events can be handled. Nothing on it waits for the world, so the same start
leads to the same run.
"""

import asyncio
import selectors
from collections.abc import Callable


class Stalled(Exception):
    """All that runs waits for something that nothing is going to do."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual. It begins at 0."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._virtual.now_s

    def watch(self, look: Callable[[], None] | None) -> None:
        """Has `look` called after each step; None to have nothing called any more."""
        self._virtual.look = look


class _VirtualSelector(selectors.SelectSelector):
    """Instead of waiting for files it lets the time pass for which the loop would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.look: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.look is not None:
            self.look()
        if timeout is None:
            raise Stalled
        self.now_s += timeout
        return []
