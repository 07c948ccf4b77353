"""Tells the codestore how calls went, about once a second.

A report is sent once: one that may have arrived is not sent again, as calls that are counted twice would be evidence
that there is none.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Protocol

import structlog
from stoker_service.errors import StokerError

from stoker_frontend.outcomes import Counts, Outcomes, Way

log = structlog.get_logger()

EVERY_S = 1.0
"""How long counts are collected before they are sent, in seconds, at the least; a tenth more by chance."""


class OutcomeSink(Protocol):
    """Where counts are reported: the codestore."""

    async def report_outcomes(self, counts: Mapping[Way, Counts]) -> None:
        """Reports counts, within a bounded time.

        Raises:
            StokerError: CODESTORE_UNAVAILABLE; they may have arrived.
        """
        ...


async def report_always(outcomes: Outcomes, sink: OutcomeSink) -> None:
    """Reports what is counted until it is cancelled."""
    while True:
        await asyncio.sleep(EVERY_S * random.uniform(1, 1.1))  # noqa: S311 - spreads frontends in time
        counts = outcomes.take()
        if not counts:
            continue
        try:
            await sink.report_outcomes(counts)
        except StokerError as error:
            log.warning("outcomes.lost", ways=len(counts), reason=error.reason)
