"""Spans of what is done on this host, and below them those that the guest has measured."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import trace
from stoker_service.telemetry import PROPAGATOR, is_exporting, traceparent, tracer

from stoker_hostagent.containers import Container
from stoker_hostagent.guest_messages import GuestSpan
from stoker_hostagent.runs import Order

MAX_GUEST_SPANS = 32


class InvocationSpan:
    """The span of one invocation; without an exporter it only passes the trace context on."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def add_guest_spans(self, spans: Sequence[GuestSpan]) -> None:
        """Records what the guest has measured."""


class _RecordedSpan(InvocationSpan):
    def add_guest_spans(self, spans: Sequence[GuestSpan]) -> None:
        add_guest_spans(spans)


def add_guest_spans(spans: Sequence[GuestSpan]) -> None:
    """Records what the guest has measured, below the current span; nothing where there is none."""
    if not trace.get_current_span().is_recording():
        return
    for each in spans[:MAX_GUEST_SPANS]:
        tracer().start_span(f"guest.{each.name}", start_time=each.start_unix_ns).end(each.end_unix_ns)


def span(name: str) -> AbstractContextManager[object]:
    """A span below the current one; nothing where there is none."""
    return tracer().start_as_current_span(name) if trace.get_current_span().is_recording() else nullcontext()


def command_span(name: str, traceparent: str) -> AbstractContextManager[object]:
    """A span of a command, below that of whoever gave it; nothing where that is no part of a trace."""
    if not (traceparent and is_exporting()):
        return nullcontext()
    context = PROPAGATOR.extract({"traceparent": traceparent})
    return tracer().start_as_current_span(f"hostagent.{name}", context=context, kind=trace.SpanKind.SERVER)


def invocation_span(container: Container, order: Order) -> AbstractContextManager[InvocationSpan]:
    """A span below the frontend's, in which the invocation runs."""
    if not (order.traceparent and is_exporting()):
        return nullcontext(InvocationSpan(order.traceparent))
    return _recorded(container, order)


@contextmanager
def _recorded(container: Container, order: Order) -> Generator[InvocationSpan]:
    with tracer().start_as_current_span(
        "hostagent.invoke",
        context=PROPAGATOR.extract({"traceparent": order.traceparent}),
        kind=trace.SpanKind.SERVER,
        attributes={
            "stoker.tenant": container.version.tenant,
            "stoker.function": container.version.function,
            "stoker.version": container.version.number,
            "stoker.container": container.id,
            "stoker.vm": container.vm,
            "stoker.invocation_id": order.invocation_id,
        },
    ):
        yield _RecordedSpan(traceparent())
