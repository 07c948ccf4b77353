"""A collector of traces, as OTLP has it, for all services of a running Stoker."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any, cast

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True, slots=True)
class Span:
    """What a service has recorded."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int


class Collector:
    """Keeps what the services export."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._has_more = Condition()

    def Export(self, request: Any, _context: Any) -> Any:
        """Takes spans in."""
        with self._has_more:
            for of_resource in request.resource_spans:
                attributes = {each.key: each.value.string_value for each in of_resource.resource.attributes}
                self._spans.extend(
                    Span(
                        attributes["service.name"].removeprefix("stoker-"),
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                    )
                    for of_scope in of_resource.scope_spans
                    for span in of_scope.spans
                )
            self._has_more.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, trace_id: str, is_whole: Callable[[Sequence[Span]], bool], timeout_s: float) -> Sequence[Span]:
        """Waits until the spans of a trace are all there, and returns them."""
        with self._has_more:
            self._has_more.wait_for(lambda: is_whole(self._of(trace_id)), timeout_s)
            return self._of(trace_id)

    def _of(self, trace_id: str) -> Sequence[Span]:
        return [span for span in self._spans if span.trace_id == trace_id]


@contextmanager
def running_collector() -> Generator[tuple[Collector, str]]:
    """Runs a collector; yields it with its address."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    cast("Any", trace_service_pb2_grpc).add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
