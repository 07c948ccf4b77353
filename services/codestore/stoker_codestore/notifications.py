"""Changes of routes between codestores that share a PostgreSQL database, by LISTEN and NOTIFY.

A notification is delivered when its transaction has been committed, in the order of the commits, so whoever gets one
reads what it tells of. Those of a broken connection are lost; then all watches end, and who watches begins anew.
"""

import asyncio
import uuid
from typing import Any

import structlog
from asyncpg.exceptions import (  # pyright: ignore[reportMissingTypeStubs] - it has none
    InterfaceError,
    PostgresError,
)
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from stoker_codestore.database import AWAY
from stoker_codestore.watches import RouteChange, Watches

log = structlog.get_logger()

CHANNEL = "stoker_routes"
CHECK_S = 5.0
"""How often the connection is tried while nothing comes, and how long it may take to answer, in seconds."""
AGAIN_S = 0.5
"""How long after a broken connection another is made, in seconds."""


class Notifications:
    """Tells other codestores of this one's changes, and this one's watchers of theirs."""

    def __init__(self, engine: AsyncEngine, watches: Watches) -> None:
        self._engine = engine
        self._watches = watches
        self._origin = uuid.uuid4().hex

    async def notify(self, session: AsyncSession, change: RouteChange) -> None:
        """Tells the other codestores of a change, if and when its transaction is committed."""
        payload = f"{self._origin} {change.tenant} {change.function}"
        await session.execute(select(func.pg_notify(CHANNEL, payload)))

    async def listen(self) -> None:
        """Tells watchers of others' changes until it is cancelled."""
        while True:
            try:
                await self._listen_on_one_connection()
            except (*AWAY, PostgresError, InterfaceError) as error:
                log.warning("notifications.lost", error=str(error))
            self._watches.close("the connection to the database was lost")
            await asyncio.sleep(AGAIN_S)

    async def _listen_on_one_connection(self) -> None:
        async with asyncio.timeout(CHECK_S):
            connection = await self._engine.connect()
        try:
            listener: Any = (await connection.get_raw_connection()).driver_connection
            lost = asyncio.Event()

            def set_lost(_connection: object) -> None:
                lost.set()

            listener.add_termination_listener(set_lost)
            async with asyncio.timeout(CHECK_S):
                await listener.add_listener(CHANNEL, self._receive)
            self._watches.open()
            log.info("notifications.heard")
            while not lost.is_set():
                async with asyncio.timeout(CHECK_S):
                    await listener.fetchval("SELECT 1")
                await _wait_for(lost, CHECK_S)
        finally:
            # It is of no use to anybody else, as it goes on listening.
            await connection.invalidate()
            await connection.close()

    def _receive(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        origin, tenant, function = str(payload).split(" ")
        if origin != self._origin:
            self._watches.tell(RouteChange(tenant, function))


async def _wait_for(event: asyncio.Event, longest_s: float) -> None:
    try:
        async with asyncio.timeout(longest_s):
            await event.wait()
    except TimeoutError:
        return
