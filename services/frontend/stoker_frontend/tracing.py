"""Spans of the parts of an invocation, which cost nothing while nobody records them."""

from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from stoker_service.telemetry import tracer

_NOTHING: AbstractContextManager[None] = nullcontext()


def part(name: str) -> AbstractContextManager[object]:
    """A span within the current one, where that is recorded."""
    if not trace.get_current_span().is_recording():
        return _NOTHING
    return tracer().start_as_current_span(name)
