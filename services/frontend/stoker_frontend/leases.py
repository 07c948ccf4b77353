"""Containers for invocations: leased, reused while they are warm, and given back when they are not needed."""

import asyncio
from collections.abc import Sequence

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_frontend.demands import Demands
from stoker_frontend.lease_pool import Lease, LeasePool
from stoker_frontend.lease_source import Grant, LeaseSource, LoadFailure
from stoker_frontend.routes import Version
from stoker_frontend.runs import Start

log = structlog.get_logger()

MAX_IDLE = 10_000
MAX_RETURNING = 10_000
RETURNERS = 4
RENEW_AT_ONCE = 10_000
LONGEST_TTL_S = 30.0
"""Leases are renewed as if they held no longer than this, in seconds."""
SHORTEST_TTL_S = 0.5
"""Leases are renewed as if they held no less than this, in seconds, so that renewing is never all that is done."""


class Leases:
    """All leases of this frontend.

    While the scheduler is away they go on being used: the host agents judge whether one still counts.
    """

    def __init__(
        self, source: LeaseSource, background: Background, *, idle_s: float, wait_s: float, max_asking: int
    ) -> None:
        """Begins without any.

        Args:
            source: Where leases come from.
            background: What owns the renewing and giving back.
            idle_s: How long an unused lease is kept, in seconds.
            wait_s: How long anybody waits for a container at the most, in seconds.
            max_asking: How many containers of one version are asked for at once.
        """
        self._source = source
        self._idle_s = idle_s
        self._pool = LeasePool(MAX_IDLE)
        self._demands = Demands(
            source,
            background,
            granted=self._granted,
            spared=self.give_back,
            wait_s=wait_s,
            max_asking=max_asking,
        )
        self._ttl_s = LONGEST_TTL_S
        self._is_ttl_shorter = asyncio.Event()
        self._returning: asyncio.Queue[tuple[str, bool]] = asyncio.Queue(MAX_RETURNING)
        background.start(self._renew(), "renew leases")
        background.start(self._give_back_idle(), "give idle leases back")
        for number in range(RETURNERS):
            background.start(self._return(), f"return leases {number}")

    def take(self, version_uid: str) -> Lease | None:
        """A lease with room, in use from now on; None where `wait` has to wait for one."""
        return self._pool.take(version_uid)

    async def wait(
        self, version: Version, deadline_s: float | None, instead: Sequence[Version] = ()
    ) -> Grant | LoadFailure:
        """Waits for a container of a version, up to the caller's deadline (by the loop's clock).

        Args:
            version: The version.
            deadline_s: When the caller stops waiting.
            instead: Versions of which a container will do as well, should somebody be done with one.

        Raises:
            StokerError: SCHEDULER_UNAVAILABLE, DEADLINE_EXCEEDED, NO_CAPACITY, or the scheduler's own.
        """
        return await self._demands.wait(version, deadline_s, instead)

    def count(self, version_uid: str) -> int:
        """How many containers of a version are leased."""
        return self._pool.count(version_uid)

    def use(self, grant: Grant) -> None:
        """Takes up a lease that is about to be used by one invocation."""
        self._pool.add(grant.lease)
        if grant.ttl_s is not None:
            self._hold_for(grant.ttl_s)

    def adopt(self, grant: Grant) -> None:
        """Takes up a lease for whoever waits for its version, or for the next invocation."""
        self._granted(grant)

    def retire(self, version_uids: Sequence[str], count: int) -> None:
        """Gives so many leases of some versions back, those that are in use as soon as nobody uses them."""
        for lease in self._pool.retire(version_uids, count):
            self._return_later(lease, is_broken=False)

    def give_back(self, lease: Lease) -> None:
        """Ends the use of a lease; another invocation of the version may have it."""
        if not self._pool.holds(lease):
            return
        if not self._pool.is_retiring(lease) and self._demands.serve(Grant(lease, Start.WARM)):
            return
        if surplus := self._pool.put_back(lease, asyncio.get_running_loop().time()):
            self._return_later(surplus, is_broken=False)

    def drop(self, lease: Lease, *, is_broken: bool) -> None:
        """Ends a lease.

        Args:
            lease: The lease.
            is_broken: Whether the container is no good any more, which the scheduler is told. Otherwise the lease has
                ended on the other side already.
        """
        if is_broken and self._pool.holds(lease):
            self._return_later(lease, is_broken=True)
        self._pool.drop(lease.id)

    def drop_host(self, host_address: str) -> None:
        """Ends the leases on a host to which the stream broke; its agent ends them on the other side."""
        if count := self._pool.drop_host(host_address):
            log.warning("leases.lost", host_address=host_address, count=count)

    def _granted(self, grant: Grant) -> None:
        self.use(grant)
        if not self._demands.serve(grant):
            self.give_back(grant.lease)
            return
        # The container was made for one, and the others who wait find it there.
        while self._pool.lend(grant.lease):
            if not self._demands.serve(Grant(grant.lease, Start.WARM)):
                self.give_back(grant.lease)
                break

    def _hold_for(self, ttl_s: float) -> None:
        if 0 < ttl_s < self._ttl_s and self._ttl_s > SHORTEST_TTL_S:
            self._ttl_s = max(ttl_s, SHORTEST_TTL_S)
            self._is_ttl_shorter.set()

    def _return_later(self, lease: Lease, *, is_broken: bool) -> None:
        try:
            self._returning.put_nowait((lease.id, is_broken))
        except asyncio.QueueFull:
            log.warning("lease.not_returned", lease=lease.id, reason="QUEUE_FULL")

    async def _return(self) -> None:
        while True:
            lease_id, is_broken = await self._returning.get()
            try:
                await self._source.release(lease_id, is_broken=is_broken)
            except StokerError as error:
                # It is not renewed any more, so it ends by itself.
                log.warning("lease.not_returned", lease=lease_id, reason=error.reason)

    async def _give_back_idle(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._idle_s / 4))
            now_s = asyncio.get_running_loop().time()
            for lease in self._pool.take_idle_since(now_s - self._idle_s):
                self._return_later(lease, is_broken=False)

    async def _renew(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._ttl_s / 3):
                    await self._is_ttl_shorter.wait()
                self._is_ttl_shorter.clear()
                continue
            except TimeoutError:
                held = self._pool.held_ids()
            for first in range(0, len(held), RENEW_AT_ONCE):
                await self._renew_some(held[first : first + RENEW_AT_ONCE])

    async def _renew_some(self, lease_ids: list[str]) -> None:
        try:
            renewal = await self._source.renew(lease_ids)
        except StokerError as error:
            log.warning("leases.not_renewed", count=len(lease_ids), reason=error.reason)
            return
        self._hold_for(renewal.ttl_s)
        for lease_id in renewal.ended_ids:
            self._pool.drop(lease_id)
