"""Traces, by OpenTelemetry.

Spans are exported by OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) says where to.
Without it spans are not recorded, which costs a warm invocation next to nothing; their ids still travel from service
to service and stand in the logs.
"""

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROPAGATOR = TraceContextTextMapPropagator()
"""W3C trace context: `traceparent` and `tracestate`."""

_tracer = trace.get_tracer("stoker")  # of the provider that `configure` sets; looking it up each time costs every call


def configure(service: str) -> TracerProvider:
    """Sets up tracing for this process, and returns its provider. `shutdown()` of that sends what is still unsent."""
    resource = Resource.create({"service.name": f"stoker-{service}"})
    if not is_exporting():
        provider = TracerProvider(sampler=ALWAYS_OFF, resource=resource, shutdown_on_exit=False)
    else:
        ratio = float(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1.0"))
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def is_exporting() -> bool:
    """Whether the environment says where traces go."""
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def tracer() -> trace.Tracer:
    """The tracer of Stoker's own spans."""
    return _tracer


def traceparent() -> str:
    """The W3C `traceparent` of the current span; empty where there is none."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier.get("traceparent", "")
