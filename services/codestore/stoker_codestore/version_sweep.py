"""Superfluous versions are deleted also of functions that nobody publishes to any more."""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from sqlalchemy import func, select

from stoker_codestore.database import Database, now
from stoker_codestore.functions import lock_function
from stoker_codestore.retention import Retention
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import FunctionRow, VersionRow

log = structlog.get_logger()

AT_ONCE = 100
"""How many functions one sweep looks at."""


class VersionSweep:
    """Goes around all functions, a part at a time."""

    def __init__(
        self, database: Database, changes: RouteChanges, retention: Retention, clock: Callable[[], datetime] = now
    ) -> None:
        self._database = database
        self._changes = changes
        self._retention = retention
        self._clock = clock
        self._after = ""
        """The uid of the function that was looked at last."""

    async def sweep(self) -> bool:
        """Deletes superfluous versions.

        Returns:
            Whether there are functions left to be looked at on this round.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        functions = await self._with_many_versions()
        for function in functions:
            async with self._database.transaction() as session:
                going = await self._retention.superfluous(session, function, self._clock())
            # Whoever watches routes is only disturbed where something goes.
            if going:
                await self._sweep_function(function)
        is_full = len(functions) == AT_ONCE
        self._after = functions[-1].uid if is_full else ""
        return is_full

    async def _with_many_versions(self) -> Sequence[FunctionRow]:
        kept = func.coalesce(func.nullif(FunctionRow.versions_kept, 0), self._retention.versions_kept)
        count = (
            select(func.count())
            .select_from(VersionRow)
            .where(VersionRow.function_uid == FunctionRow.uid)
            .correlate(FunctionRow)
            .scalar_subquery()
        )
        query = select(FunctionRow).where(FunctionRow.uid > self._after, count > kept)
        async with self._database.transaction() as session:
            return (await session.scalars(query.order_by(FunctionRow.uid).limit(AT_ONCE))).all()

    async def _sweep_function(self, function: FunctionRow) -> None:
        async with self._changes.changing(function.tenant, function.name) as session:
            row = await lock_function(session, function.tenant, function.name)
            going = await self._retention.apply(session, row, self._clock())
        log.info("versions.swept", tenant=function.tenant, function=function.name, versions=len(going))
