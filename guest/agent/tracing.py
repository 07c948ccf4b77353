"""Spans of what happens in the guest, which the host agent makes part of the invocation's trace."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


def _new_span_id() -> str:
    return os.urandom(8).hex()


@dataclass(slots=True)
class Span:
    """Something that takes time. Its length is measured by a clock that isn't set."""

    name: str
    id: str = field(default_factory=_new_span_id)
    start_unix_ns: int = 0
    duration_ns: int = 0

    @contextmanager
    def measured(self) -> Generator[None]:
        """What is done while it is entered is what the span tells of."""
        self.start_unix_ns = time.time_ns()
        start_ns = time.monotonic_ns()
        try:
            yield
        finally:
            self.duration_ns = time.monotonic_ns() - start_ns


def child_traceparent(traceparent: str, span: Span) -> str:
    """The W3C trace context that makes whatever follows a child of `span`; empty where there is no trace."""
    parts = traceparent.split("-")
    return f"{parts[0]}-{parts[1]}-{span.id}-{parts[3]}" if len(parts) == 4 else ""
