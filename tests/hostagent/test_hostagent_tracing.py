"""One trace goes from the frontend through the host into the container."""

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.hostagent.running_host import frontend, running_host, surroundings

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
FRONTENDS_SPAN_ID = "b7ad6b7169203331"


async def test_an_invocation_and_what_its_guest_measured_are_spans_below_the_frontends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("stoker_hostagent.tracing.is_exporting", lambda: True)
    monkeypatch.setattr("stoker_hostagent.tracing.tracer", lambda: provider.get_tracer("test"))
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        async with frontend(address) as caller:
            await caller.invoke(1, traceparent=f"00-{TRACE_ID}-{FRONTENDS_SPAN_ID}-01")
        told_guest = around.guest.containers["c-1"].invocations[0].traceparent
    guests, hosts = exporter.get_finished_spans()
    assert hosts.parent is not None
    assert guests.parent is not None
    host_context, guest_context = hosts.get_span_context(), guests.get_span_context()
    assert host_context is not None
    assert guest_context is not None
    assert (hosts.name, f"{hosts.parent.span_id:016x}") == ("hostagent.invoke", FRONTENDS_SPAN_ID)
    assert (guests.name, guests.parent.span_id) == ("guest.handler", host_context.span_id)
    assert (guests.start_time, guests.end_time) == (1_000, 2_000)
    assert {f"{context.trace_id:032x}" for context in (host_context, guest_context)} == {TRACE_ID}
    assert told_guest == f"00-{TRACE_ID}-{host_context.span_id:016x}-01"


async def test_without_an_exporter_the_frontends_context_reaches_the_guest_as_it_is(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        async with frontend(address) as caller:
            await caller.invoke(1, traceparent=f"00-{TRACE_ID}-{FRONTENDS_SPAN_ID}-01")
        (invocation,) = around.guest.containers["c-1"].invocations
        assert invocation.traceparent == f"00-{TRACE_ID}-{FRONTENDS_SPAN_ID}-01"
