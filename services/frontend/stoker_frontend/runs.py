"""One run of a function in a container: how the container was found, what is sent there, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Start(IntEnum):
    """How an invocation found its container. The values are those of `stoker.v1.StartKind`."""

    UNKNOWN = 0
    COLD = 1
    PRIMED = 2
    WARM = 3

    @classmethod
    def _missing_(cls, value: object) -> "Start":
        """A kind that only a newer scheduler knows."""
        return cls.UNKNOWN


TIMEOUT = 2
"""The value of `stoker.v1.FunctionErrorKind` for a function that ran out of time."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent to a host for one run."""

    lease_id: str
    container: str
    invocation_id: str
    timeout_ms: int
    payload: bytes
    content_type: str
    log_tail: bool
    traceparent: str


@dataclass(frozen=True, slots=True)
class FunctionFailure:
    """A failure by the function's own fault."""

    kind: int
    """A value of `stoker.v1.FunctionErrorKind`."""
    type: str
    message: str
    stack_trace: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The function answered, or failed by its own fault."""

    payload: bytes
    content_type: str
    failure: FunctionFailure | None
    run_ms: float
    log_tail: bytes
    is_container_lost: bool


@dataclass(frozen=True, slots=True)
class NothingRan:
    """The order did not reach its container, so that it can be sent to another."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The container, or the way to it, was lost; the function may have run."""

    message: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The time that the run had is over; it was stopped."""

    was_sent: bool
    """Whether the order had left for the host."""


Outcome = Finished | NothingRan | Lost | Expired
