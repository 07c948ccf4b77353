"""One run of a function in a container: what a frontend orders, and how it ends."""

from dataclasses import dataclass

from stoker_hostagent.guest_messages import Failure


@dataclass(frozen=True, slots=True)
class Order:
    """What a frontend wants run."""

    lease_id: str
    container: str
    invocation_id: str
    timeout_ms: int
    """How long it may take, in milliseconds."""
    payload: bytes
    content_type: str
    log_tail: bool
    """Whether the last of the output is wanted."""
    traceparent: str
    """W3C trace context of the frontend's span; empty for none."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The function answered, or failed by its own fault."""

    payload: bytes
    content_type: str
    failure: Failure | None
    run_ms: float
    """In the handler, in milliseconds."""
    log_tail: bytes
    is_container_lost: bool


@dataclass(frozen=True, slots=True)
class NotRun:
    """Stoker could not run it, or does not know how it ended."""

    reason: str
    """In UPPER_SNAKE_CASE."""
    message: str
