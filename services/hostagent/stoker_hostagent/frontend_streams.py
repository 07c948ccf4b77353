"""The streams of frontends, and whose leases end when they do."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from stoker_service.background import Background

from stoker_hostagent import errors
from stoker_hostagent.calls import Calls
from stoker_hostagent.invocations import Invocations
from stoker_hostagent.runs import Finished, Order

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class FrontendStream:
    """One frontend's stream."""

    holder: str
    calls: Calls


class FrontendStreams:
    """All streams of frontends."""

    def __init__(
        self,
        invocations: Invocations,
        background: Background,
        holder_gone: Callable[[str], None],
        *,
        max_running: int,
        max_unsent_bytes: int,
    ) -> None:
        """Begins without any.

        Args:
            invocations: What runs orders.
            background: What owns the runs.
            holder_gone: Told of a frontend whose last stream has ended.
            max_running: How many invocations one stream may have running at once.
            max_unsent_bytes: How many bytes of answers may wait for one stream.
        """
        self._invocations = invocations
        self._background = background
        self._holder_gone = holder_gone
        self._max_running = max_running
        self._max_unsent_bytes = max_unsent_bytes
        self._open: set[FrontendStream] = set()
        self._of_holder: Counter[str] = Counter()
        self._is_draining = False
        self._has_fewer = asyncio.Event()

    def open(self, holder: str) -> FrontendStream:
        """Takes up a frontend's stream, which is to be given to `close` in the end.

        Raises:
            StokerError: HOST_STOPPING, HOLDER_MISSING.
        """
        if self._is_draining:
            raise errors.stopping()
        if not holder:
            raise errors.holder_missing()
        calls = Calls(
            self._run, self._background, max_running=self._max_running, max_unsent_bytes=self._max_unsent_bytes
        )
        stream = FrontendStream(holder, calls)
        self._open.add(stream)
        self._of_holder[holder] += 1
        log.info("frontend.connected", holder=holder)
        return stream

    def close(self, stream: FrontendStream) -> None:
        """Ends a stream: its calls are stopped, and if it was its holder's last one, so are the holder's leases here.

        Closing it again does nothing.
        """
        if stream not in self._open:
            return
        self._open.discard(stream)
        self._has_fewer.set()
        stream.calls.close()
        self._of_holder[stream.holder] -= 1
        if not self._of_holder[stream.holder]:
            del self._of_holder[stream.holder]
            log.info("frontend.gone", holder=stream.holder)
            # While draining it is this side that ends the streams; the frontend's leases outlive the restart.
            if not self._is_draining:
                self._holder_gone(stream.holder)

    async def drain(self, limit_s: float) -> None:
        """Takes no more orders, and waits for the running ones to be answered; after `limit_s` they are stopped."""
        self._is_draining = True
        for stream in self._open:
            stream.calls.end_orders()
        try:
            async with asyncio.timeout(limit_s):
                while self._open:
                    self._has_fewer.clear()
                    await self._has_fewer.wait()
        except TimeoutError:
            log.warning("invocations.cut_off", count=sum(stream.calls.running for stream in self._open))
            for stream in list(self._open):
                self.close(stream)

    async def _run(self, order: Order) -> Finished:
        if self._is_draining:
            raise errors.lease_stale(order.container, "the host agent is stopping")
        return await self._invocations.run(order)
