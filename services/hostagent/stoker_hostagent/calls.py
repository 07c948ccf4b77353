"""The invocations of one frontend's stream, told apart by the ids that it gave them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent.runs import Finished, NotRun, Order

log = structlog.get_logger()

Answer = tuple[int, Finished | NotRun]
"""The id of a call, and how it ended."""


class Calls:
    """Runs what is ordered, and keeps the answers until they are sent.

    It is told of orders as they are read. Nothing more is to be read while `wait_for_room` waits, so that a frontend
    that does not take its answers, or has too much running, is held back by the stream's own flow control.
    """

    def __init__(
        self,
        run: Callable[[Order], Awaitable[Finished]],
        background: Background,
        *,
        max_running: int,
        max_unsent_bytes: int,
    ) -> None:
        """Begins without any.

        Args:
            run: Runs an order, or raises StokerError.
            background: What owns the runs.
            max_running: How many may run at once.
            max_unsent_bytes: How many bytes of answers may wait to be sent before no more orders are taken.
        """
        self._run = run
        self._background = background
        self._max_running = max_running
        self._max_unsent_bytes = max_unsent_bytes
        self._running: dict[int, asyncio.Task[None]] = {}
        self._answers: deque[Answer] = deque()
        self._unsent_bytes = 0
        self._no_more_orders = False
        self._has_changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    @property
    def running(self) -> int:
        """How many have not ended."""
        return len(self._running)

    def start(self, call_id: int, order: Order) -> None:
        """Begins to run an order. One with the id of a call that is running is refused; nothing runs for it."""
        if call_id in self._running:
            self._answer(call_id, NotRun("LEASE_STALE", f"call_id: {call_id} is running already; number calls anew"))
            return
        task = self._background.start(self._run_one(call_id, order), f"invocation {order.invocation_id}")
        self._running[call_id] = task
        task.add_done_callback(lambda _: self._ended(call_id))
        self._look_for_room()

    def cancel(self, call_id: int) -> None:
        """Stops a call, which is not answered then. One that has ended is no error."""
        if task := self._running.get(call_id):
            task.cancel()

    def end_orders(self) -> None:
        """Says that no more orders come; when the running ones are answered, there are no more answers."""
        self._no_more_orders = True
        self._has_changed.set()

    def close(self) -> None:
        """Stops all calls, as nobody takes their answers any more."""
        self.end_orders()
        for task in self._running.values():
            task.cancel()

    async def wait_for_room(self) -> None:
        """Waits until another order may be taken."""
        await self._has_room.wait()

    async def next_answer(self) -> Answer | None:
        """Waits for the next answer; None when there are no more."""
        while not self._answers:
            if self._no_more_orders and not self._running:
                return None
            self._has_changed.clear()
            await self._has_changed.wait()
        call_id, outcome = self._answers.popleft()
        self._unsent_bytes -= _size_of(outcome)
        self._look_for_room()
        return call_id, outcome

    async def _run_one(self, call_id: int, order: Order) -> None:
        try:
            outcome: Finished | NotRun = await self._run(order)
        except StokerError as error:
            outcome = NotRun(error.reason, error.message)
        except Exception as error:
            log.error("invocation.failed", invocation_id=order.invocation_id, exc_info=error)
            outcome = NotRun("INTERNAL", "the host agent failed by a fault of Stoker; its log has the trace")
        self._answer(call_id, outcome)

    def _answer(self, call_id: int, outcome: Finished | NotRun) -> None:
        self._answers.append((call_id, outcome))
        self._unsent_bytes += _size_of(outcome)
        self._has_changed.set()
        self._look_for_room()

    def _ended(self, call_id: int) -> None:
        del self._running[call_id]
        self._has_changed.set()
        self._look_for_room()

    def _look_for_room(self) -> None:
        if len(self._running) < self._max_running and self._unsent_bytes < self._max_unsent_bytes:
            self._has_room.set()
        else:
            self._has_room.clear()


def _size_of(outcome: Finished | NotRun) -> int:
    return len(outcome.payload) + len(outcome.log_tail) if isinstance(outcome, Finished) else len(outcome.message)
