"""The frontend as a process: how it begins, how it ends, and the traces that it sends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from stoker_frontend import api_keys
from stoker_frontend.config import FrontendSettings
from stoker_frontend.frontend import AdminKeyUnreadable
from stoker_protos.admin.v1 import tenants_pb2, tenants_pb2_grpc
from stoker_protos.v1 import functions_pb2, functions_pb2_grpc, invocations_pb2, invocations_pb2_grpc
from stoker_service.channels import open_channel
from stoker_service.config import load_settings
from stoker_service.server import AddressInUse
from stoker_service.sql import DatabaseUnusable

from tests.frontend.codestore_peer import CodestorePeer, spec_of
from tests.frontend.host_peer import HostPeer
from tests.frontend.peers import WITHIN_S, serving
from tests.frontend.scheduler_peer import SchedulerPeer
from tests.frontend.world import Metadata, bearer, running_world

pytestmark = pytest.mark.thorough

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT_SPAN_ID = "00f067aa0ba902b7"
PARENT = ("traceparent", f"00-{TRACE_ID}-{CLIENT_SPAN_ID}-01")


class Collector:
    """A collector of traces, as OTLP has it."""

    def __init__(self) -> None:
        self.spans: list[trace_pb2.Span] = []
        self.services: set[str] = set()

    async def Export(self, request: Any, context: Any) -> Any:
        for of_resource in request.resource_spans:
            attributes = {each.key: each.value.string_value for each in of_resource.resource.attributes}
            self.services.add(attributes["service.name"])
            for of_scope in of_resource.scope_spans:
                self.spans.extend(of_scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its service to a server."""
        # Its stub knows servers of threads alone.
        cast("Any", trace_service_pb2_grpc).add_TraceServiceServicer_to_server(self, server)


@dataclass
class FrontendProcess:
    """A frontend that runs by itself."""

    process: asyncio.subprocess.Process
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def event(self, name: str) -> dict[str, Any]:
        """Waits for it to log an event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(3 * WITHIN_S):
            while line := await self.process.stderr.readline():
                self.events.append(json.loads(line))
                if self.events[-1]["event"] == name:
                    return self.events[-1]
        raise AssertionError(f"it ended without {name}: {self.events}")

    async def end(self) -> int:
        """Asks it to end, as an operator would, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        await self.event("server.stopped")
        async with asyncio.timeout(WITHIN_S):
            _, rest = await self.process.communicate()
            self.events += [json.loads(line) for line in rest.splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode


def environment(directory: Path, **more: str) -> dict[str, str]:
    """The environment of a frontend with its files in a directory."""
    told = {
        "STOKER_FRONTEND_LISTEN_ADDRESS": "127.0.0.1:0",
        "STOKER_FRONTEND_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/frontend.db",
        "STOKER_FRONTEND_ADMIN_KEY_FILE": str(directory / "admin.key"),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STOKER_", "OTEL_"))}
    return clean | told | more


@asynccontextmanager
async def frontend_process(told: dict[str, str]) -> AsyncGenerator[FrontendProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stoker_frontend", env=told, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield FrontendProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def make_tenant(channel: grpc.aio.Channel, admin: Metadata) -> Metadata:
    request = tenants_pb2.CreateTenantRequest(tenant_id="ann")
    made = await tenants_pb2_grpc.TenantServiceStub(channel).CreateTenant(request, timeout=WITHIN_S, metadata=admin)
    return bearer(made.api_key)


async def test_one_trace_leads_from_the_client_through_the_frontend_to_its_peers(tmp_path: Path) -> None:
    codestore = CodestorePeer()  # pyright: ignore[reportAbstractUsage] - no test needs its other methods
    scheduler, host, collector = SchedulerPeer(), HostPeer(), Collector()
    codestore.put(spec_of("ann", "hello"))
    admin_key = api_keys.generate().text
    (tmp_path / "admin.key").write_text(admin_key)
    registers = [codestore.register, scheduler.register, host.register, collector.register]
    async with serving(registers) as (of_codestore, of_scheduler, of_host, of_collector):
        scheduler.host_address = of_host.address
        told = environment(
            tmp_path,
            STOKER_FRONTEND_CODESTORE_ADDRESS=of_codestore.address,
            STOKER_FRONTEND_SCHEDULER_ADDRESS=of_scheduler.address,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{of_collector.address}",
            OTEL_EXPORTER_OTLP_INSECURE="true",
        )
        async with frontend_process(told) as frontend:
            started = await frontend.event("server.started")
            async with open_channel(started["address"]) as channel:
                metadata = (*await make_tenant(channel, bearer(admin_key)), PARENT)
                invoke = invocations_pb2.InvokeRequest(name="functions/hello")
                await invocations_pb2_grpc.InvocationServiceStub(channel).Invoke(invoke, timeout=30, metadata=metadata)
                functions = functions_pb2_grpc.FunctionServiceStub(channel)
                await functions.ListFunctions(functions_pb2.ListFunctionsRequest(), timeout=30, metadata=metadata)
            assert await frontend.end() == 0

    of_trace = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE_ID}
    invoke_span = of_trace["stoker.v1.InvocationService/Invoke"]
    assert collector.services == {"stoker-frontend"}
    assert invoke_span.parent_span_id.hex() == CLIENT_SPAN_ID
    assert {of_trace[name].parent_span_id for name in ("route", "acquire", "invoke")} == {invoke_span.span_id}
    # Each peer was told of the span within which it was called.
    assert host.started[0].traceparent == f"00-{TRACE_ID}-{of_trace['invoke'].span_id.hex()}-01"
    assert scheduler.traceparents == [f"00-{TRACE_ID}-{of_trace['acquire'].span_id.hex()}-01"]
    list_span = of_trace["stoker.v1.FunctionService/ListFunctions"]
    assert list_span.parent_span_id.hex() == CLIENT_SPAN_ID
    assert codestore.traceparents[-1] == f"00-{TRACE_ID}-{list_span.span_id.hex()}-01"
    assert {event["level"] for event in frontend.events} <= {"info"}


async def test_a_process_that_cannot_begin_says_why_in_a_line_and_ends_with_2(tmp_path: Path) -> None:
    async with frontend_process(environment(tmp_path)) as frontend:
        async with asyncio.timeout(3 * WITHIN_S):
            _, printed = await frontend.process.communicate()
    assert frontend.process.returncode == 2
    assert printed.decode().startswith("cannot read the admin key")
    assert len(printed.decode().splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", "mysql://somewhere"),
        ("MAX_INVOCATIONS", "0"),
        ("DRAIN_S", "soon"),
        ("LOG_LEVEL", "all"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    setting: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"STOKER_FRONTEND_{setting}", value)
    with pytest.raises(SystemExit) as caught:
        load_settings(FrontendSettings)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"STOKER_FRONTEND_{setting}: ")


@pytest.mark.parametrize(
    ("setting", "value", "kind", "message"),
    [
        ("admin_key_file", "/dev/null", AdminKeyUnreadable, "holds no key of the form"),
        ("listen_address", "192.0.2.1:1", AddressInUse, "cannot listen on 192.0.2.1:1"),
        ("database_url", "sqlite+aiosqlite:////dev/null/frontend.db", DatabaseUnusable, "cannot use the database"),
        ("database_url", "sqlite+aiosqlite:////dev/null", DatabaseUnusable, "cannot use the database"),
        ("database_url", "postgresql+asyncpg://me:secret@127.0.0.1:1/x", DatabaseUnusable, "cannot use the database"),
    ],
)
async def test_what_a_setting_names_and_is_not_there_is_told(
    setting: str, value: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        async with running_world(**{setting: value}):
            pass
    assert "secret" not in str(caught.value)
