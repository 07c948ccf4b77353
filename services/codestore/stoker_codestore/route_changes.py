"""Transactions that change routes, and telling of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.database import Database
from stoker_codestore.notifications import Notifications
from stoker_codestore.tables import FunctionRow
from stoker_codestore.watches import RouteChange, Watches


class RouteChanges:
    """Makes changes, and tells this codestore's watchers and the other codestores."""

    def __init__(self, database: Database, watches: Watches, notifications: Notifications | None) -> None:
        """Uses `notifications` where there may be other codestores."""
        self._database = database
        self._watches = watches
        self._notifications = notifications

    @asynccontextmanager
    async def changing(self, tenant: str, function: str) -> AsyncGenerator[AsyncSession]:
        """A transaction that changes a function's versions, where its aliases point, or its concurrency.

        Raises:
            IntegrityError: A row that must be the only one of its kind is not.
            StokerError: DATABASE_UNAVAILABLE.
        """
        change = RouteChange(tenant, function)
        try:
            async with self._database.transaction() as session:
                yield session
                if self._notifications is not None:
                    await self._notifications.notify(session, change)
        finally:
            # Even a failed attempt may have had its effect, where the answer to a commit was lost.
            self._watches.tell(change)

    @asynccontextmanager
    async def changing_tenant(self, tenant: str) -> AsyncGenerator[AsyncSession]:
        """A transaction that changes something that counts for all of a tenant's versions.

        Raises:
            IntegrityError: A row that must be the only one of its kind is not.
            StokerError: DATABASE_UNAVAILABLE.
        """
        changes: list[RouteChange] = []
        try:
            async with self._database.transaction() as session:
                yield session
                functions = await session.scalars(select(FunctionRow.name).where(FunctionRow.tenant == tenant))
                changes += [RouteChange(tenant, function) for function in functions]
                if self._notifications is not None:
                    for change in changes:
                        await self._notifications.notify(session, change)
        finally:
            for change in changes:
                self._watches.tell(change)
