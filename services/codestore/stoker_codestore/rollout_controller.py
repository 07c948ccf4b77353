"""Lets rollouts go on in time. Every codestore does so; what one has done the others find done."""

import asyncio
import random

import structlog
from stoker_service.errors import StokerError

from stoker_codestore.rollouts import Rollouts
from stoker_codestore.undisturbed import to_the_end

log = structlog.get_logger()

LOOK_S = 0.5
"""How often rollouts are looked at, in seconds; up to half as much more by chance, so that codestores take turns."""
AWAY_S = 5.0
"""How long they are not looked at after the database did not answer, in seconds."""


async def look_after(rollouts: Rollouts) -> None:
    """Lets rollouts go on until it is cancelled."""
    while True:
        await asyncio.sleep(LOOK_S * random.uniform(1, 1.5))  # noqa: S311 - spreads codestores in time
        try:
            await to_the_end(rollouts.go_on())
        except StokerError as error:
            log.warning("rollouts.not_looked_at", reason=error.reason, message=error.message)
            await asyncio.sleep(AWAY_S)
