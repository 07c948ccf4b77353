"""The caller's trace, passed on as W3C trace context."""

import sys
from collections.abc import Mapping


def trace_metadata() -> Mapping[str, str]:
    """`traceparent` and `tracestate` of the current span; empty where there is none.

    OpenTelemetry takes 150 ms to import, so it is not imported here: a program that has not done so has no trace.
    """
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier
