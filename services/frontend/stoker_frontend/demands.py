"""Invocations that wait for a container.

The scheduler is asked for as many containers of a version as hold the invocations that wait, up to a limit. Whoever has
waited longest gets the next place, whether the scheduler granted it or another invocation is done with it; what is
asked for beyond that is cancelled.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stoker_service.background import Background
from stoker_service.errors import ErrorKind, StokerError

from stoker_frontend import errors
from stoker_frontend.lease_pool import Lease
from stoker_frontend.lease_source import Grant, LeaseSource, LoadFailure
from stoker_frontend.routes import Version

ASK_AGAIN_S = 0.1
ASK_AGAIN_MOST_S = 1.0

_PASSING = (ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED, ErrorKind.CANCELLED, ErrorKind.ABORTED)
"""Failures after which the scheduler is asked again for as long as somebody waits."""


@dataclass(eq=False, slots=True)
class _Demand:
    version: Version
    waiting: dict[asyncio.Future[Grant | LoadFailure], float] = field(
        default_factory=dict[asyncio.Future[Grant | LoadFailure], float]
    )
    """First come first, each with the time at which it gives up."""
    asking: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])


class Demands:
    """Those who wait, by version."""

    def __init__(
        self,
        source: LeaseSource,
        background: Background,
        *,
        granted: Callable[[Grant], None],
        spared: Callable[[Lease], None],
        wait_s: float,
        max_asking: int,
    ) -> None:
        """Begins without any.

        Args:
            source: Whom to ask.
            background: What owns the asking.
            granted: Told of what the source grants, to `serve` it or to keep it.
            spared: Told of leases with which somebody was served who no longer wanted any.
            wait_s: How long anybody waits at the most, in seconds.
            max_asking: For how many containers of a version the source is asked at once.
        """
        self._source = source
        self._background = background
        self._granted = granted
        self._spared = spared
        self._wait_s = wait_s
        self._max_asking = max_asking
        self._demands: dict[str, _Demand] = {}
        self._content: dict[str, dict[asyncio.Future[Grant | LoadFailure], None]] = {}
        """Those who wait for other versions and are content with this one too, by its uid."""

    async def wait(
        self, version: Version, deadline_s: float | None, instead: Sequence[Version] = ()
    ) -> Grant | LoadFailure:
        """Waits for a container that runs a version, up to the caller's deadline (by the loop's clock).

        A container of one of the versions `instead` will do as well, if somebody is done with it; none is asked for.

        Raises:
            StokerError: SCHEDULER_UNAVAILABLE, DEADLINE_EXCEEDED, NO_CAPACITY, or the scheduler's own.
        """
        loop = asyncio.get_running_loop()
        longest_s = loop.time() + self._wait_s
        give_up_s = longest_s if deadline_s is None else min(longest_s, deadline_s)
        demand = self._demands.setdefault(version.uid, _Demand(version))
        place: asyncio.Future[Grant | LoadFailure] = loop.create_future()
        demand.waiting[place] = give_up_s
        for other in instead:
            self._content.setdefault(other.uid, {})[place] = None
        self._balance(demand)
        try:
            async with asyncio.timeout_at(give_up_s):
                return await place
        except TimeoutError as error:
            self._leave(place)
            if self._source.is_away():
                raise errors.scheduler_unavailable() from error
            if give_up_s == deadline_s:
                raise errors.deadline_exceeded("queue") from error
            raise errors.no_capacity_in_time(self._wait_s) from error
        except asyncio.CancelledError:
            self._leave(place)
            raise
        finally:
            demand.waiting.pop(place, None)
            for other in instead:
                self._content[other.uid].pop(place)
                if not self._content[other.uid]:
                    del self._content[other.uid]
            self._balance(demand)

    def serve(self, grant: Grant) -> bool:
        """Gives a place in a container to whoever has waited longest for its version; False where nobody waits."""
        uid = grant.lease.version_uid
        demand = self._demands.get(uid)
        if demand is not None and (place := _first(demand)):
            place.set_result(grant)
            self._balance(demand)
            return True
        for place in self._content.get(uid, ()):
            if not place.done():
                place.set_result(grant)
                return True
        return False

    def _leave(self, place: asyncio.Future[Grant | LoadFailure]) -> None:
        # It may have been served in the moment in which it stopped waiting.
        if not place.cancelled() and place.exception() is None and isinstance(served := place.result(), Grant):
            self._spared(served.lease)

    def _balance(self, demand: _Demand) -> None:
        wanted = min(-(-len(demand.waiting) // demand.version.concurrency), self._max_asking)
        while len(demand.asking) > wanted:
            demand.asking.pop().cancel()
        while len(demand.asking) < wanted:
            name = f"acquire {demand.version.uid}"
            demand.asking.append(self._background.start(self._ask(demand), name))
        if not demand.waiting and self._demands.get(demand.version.uid) is demand:
            del self._demands[demand.version.uid]

    async def _ask(self, demand: _Demand) -> None:
        pause_s = ASK_AGAIN_S
        while True:
            now_s = asyncio.get_running_loop().time()
            wait_s = max(demand.waiting.values(), default=now_s) - now_s
            try:
                answer = await self._source.acquire(demand.version, max(wait_s, 0.001))
                break
            except StokerError as error:
                if error.kind not in _PASSING:
                    answer = error
                    break
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads frontends in time
            pause_s = min(2 * pause_s, ASK_AGAIN_MOST_S)
        task = asyncio.current_task()
        demand.asking = [other for other in demand.asking if other is not task]
        match answer:
            case Grant():
                self._granted(answer)
            case LoadFailure():
                # The version will not change, so neither will the answer for those who wait as well.
                while place := _first(demand):
                    place.set_result(answer)
            case StokerError():
                if place := _first(demand):
                    place.set_exception(answer)
        self._balance(demand)


def _first(demand: _Demand) -> asyncio.Future[Grant | LoadFailure] | None:
    """Whoever has waited longest, who from now on waits no more."""
    while demand.waiting:
        place = next(iter(demand.waiting))
        del demand.waiting[place]
        if not place.done():
            return place
    return None
