"""Coroutines that begin at once, and become tasks only if they have to wait.

Python 3.12 has this as `asyncio.eager_task_factory`; guests have Python 3.11. A task costs two more rounds of the event
loop, which is much for a call that is answered without waiting.
"""

import types
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Begun(Generic[Result]):
    """A coroutine that has run until it ended or waited.

    Until then it runs within the task that makes this, so that it must not use what belongs to a task, such as
    `asyncio.timeout`, before it has waited once; `await asyncio.sleep(0)` is enough.
    """

    __slots__ = ("_coroutine", "_waits_for", "is_done")

    def __init__(self, coroutine: Coroutine[Any, Any, Result]) -> None:
        """Runs it until it ends or waits.

        Raises:
            Exception: Whatever the coroutine raises.
        """
        self._coroutine = coroutine
        try:
            self._waits_for = coroutine.send(None)
            self.is_done = False
        except StopIteration:
            self.is_done = True

    async def rest(self) -> Result:
        """What is left of it where it is not done; for a task, which must not be cancelled before its first step."""
        return await self._continue()

    @types.coroutine
    def _continue(self) -> Generator[Any, Any, Result]:
        if self._waits_for is not None:
            yield self._waits_for
        # Not by `await`, which takes no coroutine that has begun.
        rest: Generator[Any, Any, Result] = self._coroutine  # pyright: ignore[reportAssignmentType] - so it is for `yield from` here
        return (yield from rest)
