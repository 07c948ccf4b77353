"""Tasks that live as long as the service, with one owner."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


class Background:
    """Owns tasks. One that fails by a fault ends the service; leaving the context cancels those that still run."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    def start(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Starts a task, which is given back so that it can be cancelled early."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_ending:
            task.cancel()
        return task

    def cancel(self) -> None:
        """Cancels all tasks, and those that they start while they end."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def background() -> AsyncGenerator[Background]:
    """Runs background tasks while the context is entered.

    Raises:
        Exception: Whatever the context's body raises, as it is; a group where a task has failed.
    """
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        tasks = Background(group)
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001 - passed on below, when the tasks have ended
            failure = error
        finally:
            tasks.cancel()
    if failure is not None:
        raise failure
