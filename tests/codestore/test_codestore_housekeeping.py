"""Housekeeping goes on whatever happens to it."""

import asyncio

from sqlalchemy.exc import IntegrityError
from stoker_codestore import errors
from stoker_codestore.housekeeping import keep_house

from tests.codestore.world import WITHIN_S


class Sweeps:
    """Sweeps that end as they are told to."""

    def __init__(self, *outcomes: bool | Exception) -> None:
        self.outcomes = list(outcomes)
        self.is_done = asyncio.Event()

    async def sweep(self) -> bool:
        if not self.outcomes:
            self.is_done.set()
            return False
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_a_sweep_that_fails_is_done_again_and_keeps_no_other_from_its_turn() -> None:
    failing = Sweeps(errors.database_unavailable(), IntegrityError("", None, Exception()), False)
    other = Sweeps(False, False)
    keeping = asyncio.create_task(keep_house([failing, other], 0.001))
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(failing.is_done.wait(), other.is_done.wait())
    assert not keeping.done()
    keeping.cancel()


async def test_a_sweep_that_has_left_something_goes_on_soon() -> None:
    sweeps = Sweeps(True)
    # With an hour between sweeps otherwise.
    keeping = asyncio.create_task(keep_house([sweeps], 3600.0))
    async with asyncio.timeout(WITHIN_S):
        await sweeps.is_done.wait()
    keeping.cancel()
