"""Spans of what happens in the guest, which the host agent makes part of the invocation's trace."""

import os
import time
from dataclasses import dataclass, field


def _new_span_id() -> str:
    return os.urandom(8).hex()


@dataclass(slots=True)
class Span:
    """Something that takes time: what is done while it is entered. Its length is measured by a clock that isn't set."""

    name: str
    id: str = field(default_factory=_new_span_id)
    start_unix_ns: int = 0
    duration_ns: int = 0
    _start_ns: int = 0

    def __enter__(self) -> None:
        self.start_unix_ns = time.time_ns()
        self._start_ns = time.monotonic_ns()

    def __exit__(self, *_: object) -> None:
        self.duration_ns = time.monotonic_ns() - self._start_ns


def child_traceparent(traceparent: str, span: Span) -> str:
    """The W3C trace context that makes whatever follows a child of `span`; empty where there is no trace."""
    parts = traceparent.split("-")
    return f"{parts[0]}-{parts[1]}-{span.id}-{parts[3]}" if len(parts) == 4 else ""


def is_recorded(traceparent: str) -> bool:
    """Whether anybody records the trace: the last bit of a W3C trace context."""
    return traceparent[-1:] in ("1", "3", "5", "7", "9", "b", "d", "f")
