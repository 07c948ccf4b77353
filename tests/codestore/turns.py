"""Tasks that run one at a time, in an order that a seed chooses: the same seed, the same order.

A task gives up its turn before each transaction and each access to the object store. Between these nothing that it does
can be seen by another, nor outlive it; so whatever several codestores can do to each other, and wherever they are
killed, is one of these orders.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any, BinaryIO

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from stoker_codestore.database import Database
from stoker_codestore.object_store import ArtifactStore


class Turns:
    """Decides whose turn it is."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._waiting: dict[asyncio.Task[Any], asyncio.Future[None]] = {}
        self._running: asyncio.Task[Any] | None = None
        self._has_stopped = asyncio.Event()

    async def turn(self) -> None:
        """Waits until it is the calling task's turn; one that nobody has added does not wait."""
        task = asyncio.current_task()
        assert task is not None
        if task is not self._running:
            return
        mine = self._waiting[task] = asyncio.get_running_loop().create_future()
        self._has_stopped.set()
        try:
            await mine
        finally:
            self._waiting.pop(task, None)

    @property
    def waiting(self) -> list[asyncio.Task[Any]]:
        """Those that have not come to their end, in the order of their names."""
        return sorted(self._waiting, key=lambda task: task.get_name())

    async def add(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Adds a task, which runs until it first gives up its turn."""

        async def ended() -> None:
            try:
                await work
            finally:
                self._has_stopped.set()

        self._has_stopped.clear()
        self._running = asyncio.create_task(ended(), name=name)
        await self._until_it_stops()

    async def step(self) -> None:
        """Gives some task a turn."""
        task = self._random.choice(self.waiting)
        self._has_stopped.clear()
        self._running = task
        self._waiting.pop(task).set_result(None)
        await self._until_it_stops()

    async def kill(self, task: asyncio.Task[Any]) -> None:
        """Ends a task where it is, as a kill ends a process."""
        self._running = None
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def _until_it_stops(self) -> None:
        assert self._running is not None
        await self._has_stopped.wait()
        if self._running not in self._waiting:
            await self._running


class TurningDatabase(Database):
    """A database of which each transaction is a turn."""

    def __init__(self, engine: AsyncEngine, turns: Turns) -> None:
        super().__init__(engine)
        self._turns = turns

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        await self._turns.turn()
        async with super().transaction() as session:
            yield session


class TurningStore(ArtifactStore):
    """A store of which each access is a turn."""

    def __init__(self, store: ArtifactStore, turns: Turns) -> None:
        super().__init__(store._store, store._directory)  # pyright: ignore[reportPrivateUsage] - it is that store
        self._turns = turns

    async def holds(self, key: str, size_bytes: int) -> bool:
        await self._turns.turn()
        return await super().holds(key, size_bytes)

    async def write(self, key: str, file: BinaryIO) -> None:
        await self._turns.turn()
        await super().write(key, file)

    async def read(self, key: str) -> AsyncGenerator[bytes]:
        await self._turns.turn()
        async for block in super().read(key):
            yield block

    async def delete(self, key: str) -> None:
        await self._turns.turn()
        await super().delete(key)
