"""One trace leads from the client into the container."""

from collections.abc import Sequence
from pathlib import Path

import stoker
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.system.conftest import write_function
from tests.system.trace_collector import Collector, Span

TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
CLIENT_SPAN_ID = 0x00F067AA0BA902B7

EXPECTED = {
    ("frontend", "stoker.v1.InvocationService/Invoke"),
    ("scheduler", "stoker.scheduler.v1.CapacityService/AcquireContainer"),
    ("hostagent", "hostagent.invoke"),
    ("hostagent", "guest.handler"),
}


def test_one_trace_leads_from_the_client_into_the_container(
    client: stoker.Client, collector: Collector, tmp_path: Path
) -> None:
    code = write_function(tmp_path, "def handler(event, context):\n    return context.traceparent\n")
    client.deploy("traced", code, runtime="python3", handler="main.handler")
    caller = NonRecordingSpan(SpanContext(TRACE_ID, CLIENT_SPAN_ID, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(caller):
        seen_in_container = client.invoke("traced", timeout_s=120).json()

    spans = collector.wait_for(f"{TRACE_ID:032x}", lambda spans: names_of(spans) >= EXPECTED, 20)
    assert names_of(spans) >= EXPECTED
    assert seen_in_container.split("-")[1] == f"{TRACE_ID:032x}"
    handler = next(span for span in spans if span.name == "guest.handler")
    assert ancestors(handler, spans)[-1] == f"{CLIENT_SPAN_ID:016x}"


def names_of(spans: Sequence[Span]) -> set[tuple[str, str]]:
    """What was recorded, and by which service."""
    return {(span.service, span.name) for span in spans}


def ancestors(span: Span, spans: Sequence[Span]) -> list[str]:
    """The ids above a span, the nearest first."""
    by_id = {each.span_id: each for each in spans}
    above: list[str] = []
    while True:
        above.append(span.parent_id)
        if span.parent_id not in by_id:
            return above
        span = by_id[span.parent_id]
