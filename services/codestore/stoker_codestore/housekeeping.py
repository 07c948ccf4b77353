"""Housekeeping, as long as the codestore runs. Several codestores may do it at once."""

import asyncio
import random
from collections.abc import Sequence
from typing import Protocol

import structlog
from sqlalchemy.exc import IntegrityError
from stoker_service.errors import StokerError

log = structlog.get_logger()

AGAIN_S = 1.0
"""How soon a sweep goes on that has left something, in seconds; requests have the database meanwhile."""


class Sweep(Protocol):
    """Deletes a bounded number of things that are not needed any more."""

    async def sweep(self) -> bool:
        """Returns whether there is more to do; raises StokerError."""
        ...


async def keep_house(sweeps: Sequence[Sweep], every_s: float) -> None:
    """Sweeps again and again until it is cancelled. What fails is tried again the next time."""
    while True:
        has_more = False
        for sweep in sweeps:
            try:
                has_more |= await sweep.sweep()
            except (StokerError, IntegrityError) as error:
                # The latter is not to be: something has a reference to what was to go. The database has kept both.
                log.error("housekeeping.failed", sweep=type(sweep).__name__, exc_info=error)
        wait_s = AGAIN_S if has_more else every_s
        # Codestores that were started together need not sweep together.
        await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load
