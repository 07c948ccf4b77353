"""Time that passes only when nothing is left to do now.

An event loop of asyncio with a virtual clock: the code that runs on it is the real one, with its tasks, timeouts and
sleeps, and an hour passes as fast as its events can be handled. Nothing on it waits for the world, so the same start
leads to the same run.

It does only what such code needs, as a run is millions of steps. What is due at the same time is done in the order in
which it was asked for. Where asyncio's own loop would log what a callback raises and go on, this one breaks off.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Stalled(Exception):
    """All that runs waits for something that nothing is going to do."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """An event loop whose time is virtual. It begins at 0."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._look: Callable[[], None] | None = None
        self._due: deque[_Step] = deque()
        """What is to be done now, the first first."""
        self._later: list[tuple[float, int, _Step]] = []
        """What is to be done when its time has come: a heap by that time, and by which was asked for first."""
        self._numbers = count()
        self._is_running = self._is_closed = False

    def watch(self, look: Callable[[], None] | None) -> None:
        """Has `look` called after each step; None to have nothing called any more."""
        self._look = look

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now_s

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Has something done at this time, after what is to be done already."""
        step = _Step(self._now_s, callback, args, copy_context() if context is None else context)
        self._due.append(step)
        return step

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Has something done at a time."""
        step = _Step(when, callback, args, copy_context() if context is None else context)
        heappush(self._later, (when, next(self._numbers), step))
        return step

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Has something done after a time."""
        at_s = self._now_s + delay
        step = _Step(at_s, callback, args, copy_context() if context is None else context)
        heappush(self._later, (at_s, next(self._numbers), step))
        return step

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Result] | Coroutine[Any, Any, Result],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Result]:
        """A task of this loop."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_until_complete(self, future: Any) -> Any:
        """Lives until a future or coroutine is done, and returns its result or raises what it raised.

        Raises:
            Stalled: It never will be done.
        """
        task = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(self._stop_with)
        self.run_forever()
        return task.result()

    def run_forever(self) -> None:
        """Lives until it is stopped.

        Raises:
            Stalled: Nothing is left to do, now or later.
        """
        self._is_running = True
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(finalizer=self._close_forgotten)
        try:
            self._live()
        finally:
            self._is_running = False
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)

    def stop(self) -> None:
        """Ends living after the step that is under way."""
        self._is_running = False

    def _stop_with(self, _task: asyncio.Future[Any]) -> None:
        self.stop()

    def is_running(self) -> bool:
        """Whether it lives."""
        return self._is_running

    def close(self) -> None:
        """Forgets all that is still to be done."""
        self._due.clear()
        self._later.clear()
        self._is_closed = True

    def is_closed(self) -> bool:
        """Whether it is no good any more."""
        return self._is_closed

    def get_debug(self) -> bool:
        """It has no debug mode."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Raises it: something has failed whose result nobody asked for."""
        raise context.get("exception") or RuntimeError(context["message"])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing is to be done: what is cancelled is skipped when its time has come."""

    def _live(self) -> None:
        """Does what is due, step by step, and goes from time to time at which something is."""
        due, later = self._due, self._later
        while self._is_running:
            if self._look is not None:
                self._look()
            if not due:
                while later and later[0][2].is_cancelled:
                    heappop(later)
                if not later:
                    raise Stalled
                self._now_s = max(self._now_s, later[0][0])
            now_s = self._now_s
            while later and later[0][0] <= now_s:
                due.append(heappop(later)[2])
            for _ in range(len(due)):
                step = due.popleft()
                if not step.is_cancelled:
                    step.context.run(step.callback, *step.arguments)

    def _close_forgotten(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.create_task(generator.aclose())


class _Step(asyncio.TimerHandle):
    """Something that is to be done, unless it is cancelled before."""

    __slots__ = ("arguments", "at_s", "callback", "context", "is_cancelled")

    def __init__(self, at_s: float, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context):
        self.at_s = at_s
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback, self.arguments = _nothing, ()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.at_s


def _nothing() -> None:
    """What is done instead of what was cancelled."""
