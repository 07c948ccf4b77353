"""Those who wait for a container, and what they are answered."""

import asyncio
from dataclasses import dataclass
from enum import IntEnum

from opentelemetry import trace

from stoker_scheduler.commands import LoadFailure
from stoker_scheduler.leases import Lease
from stoker_scheduler.machines import Host
from stoker_scheduler.waiting import Ticket


class Start(IntEnum):
    """How a container was found. The values are those of `stoker.v1.StartKind`."""

    COLD = 1
    PRIMED = 2
    WARM = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """A container, leased to a caller."""

    lease: Lease
    ttl_s: float
    """How long the lease holds from now, in seconds."""
    vm: str
    host: Host
    start: Start
    init_ms: float = 0.0
    """How long making the container took, in milliseconds; 0 for a warm start."""


Answer = Grant | LoadFailure


@dataclass(slots=True)
class _Caller:
    answer: "asyncio.Future[Answer]"
    span: trace.Span
    failures: int = 0


class Callers:
    """All who wait, each by the ticket of its demand."""

    def __init__(self) -> None:
        self._callers: dict[Ticket, _Caller] = {}

    def __contains__(self, ticket: Ticket) -> bool:
        """Whether somebody still waits with this ticket."""
        caller = self._callers.get(ticket)
        return caller is not None and not caller.answer.done()

    def add(self, ticket: Ticket) -> "asyncio.Future[Answer]":
        """Adds a caller, with the current span as that of its call, and returns its future answer."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._callers[ticket] = _Caller(answer, trace.get_current_span())
        return answer

    def remove(self, ticket: Ticket) -> Answer | None:
        """Removes a caller; returns what it was answered, if it was."""
        answer = self._callers.pop(ticket).answer
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            return answer.result()
        return None

    def answer(self, ticket: Ticket, answer: Answer | Exception) -> bool:
        """Answers a caller; returns whether it still waited."""
        if ticket not in self:
            return False
        future = self._callers[ticket].answer
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return True

    def answer_all(self, error: Exception) -> None:
        """Tells all callers of an error."""
        for ticket in self._callers:
            self.answer(ticket, error)

    def span(self, ticket: Ticket) -> trace.Span:
        """The span of a caller's call; none where it waits no more."""
        caller = self._callers.get(ticket)
        return caller.span if caller else trace.INVALID_SPAN

    def count_failure(self, ticket: Ticket) -> int:
        """Counts an attempt that failed for a caller, and returns how many have."""
        self._callers[ticket].failures += 1
        return self._callers[ticket].failures
