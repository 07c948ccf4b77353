"""What both clients do, seen at a real gRPC server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import stoker
import stoker.aio
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from stoker.errors import (
    AlreadyExists,
    ConfigurationError,
    DeadlineExceeded,
    FunctionFailed,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServerFault,
    StokerError,
    Unauthenticated,
    Unavailable,
)
from stoker.models import FunctionErrorKind, Start
from stoker_service.errors import ErrorKind
from stoker_service.errors import StokerError as Refusal

from tests.sdk.peer import ADMIN_KEY, API_KEY, Peer


@pytest.fixture
async def aio_client(peer: Peer) -> AsyncIterator[stoker.aio.Client]:
    async with stoker.aio.Client(peer.address, api_key=API_KEY, admin_key=ADMIN_KEY) as client:
        yield client


def deploy(client: stoker.Client, code: Path, name: str = "hello", **options: Any) -> Any:
    return client.deploy(name, code, runtime="python3", handler="main.handler", **options)


def test_a_deploy_makes_the_function_and_moves_live(client: stoker.Client, code: Path) -> None:
    sent: list[tuple[int, int]] = []

    def progress(now: int, total: int) -> None:
        sent.append((now, total))

    done = deploy(client, code, memory_mib=256, environment={"K": "V"}, progress=progress)
    assert (done.is_new_function, done.is_new_version, done.was_uploaded) == (True, True, True)
    assert (done.version.number, done.version.memory_mib, done.version.environment) == (1, 256, {"K": "V"})
    assert done.alias is not None
    assert (done.alias.name, done.alias.routes) == ("live", {1: 100})
    assert sent == [(done.artifact.size_bytes, done.artifact.size_bytes)]


def test_what_is_deployed_already_is_not_uploaded_again(client: stoker.Client, code: Path, peer: Peer) -> None:
    deploy(client, code)
    again = deploy(client, code)
    assert (again.is_new_function, again.is_new_version, again.was_uploaded) == (False, False, False)
    assert peer.calls["UploadArtifact"] == 1


def test_a_function_whose_first_version_is_refused_is_taken_away(client: stoker.Client, code: Path, peer: Peer) -> None:
    with pytest.raises(InvalidArgument) as caught:
        deploy(client, code, memory_mib=5)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "version.memory_mib")
    assert peer.functions == {}


def test_what_is_malformed_is_refused_before_anything_is_sent(client: stoker.Client, code: Path, peer: Peer) -> None:
    for name, runtime in (("Hello", "python3"), ("hello", "ruby")):
        with pytest.raises(InvalidArgument):
            client.deploy(name, code, runtime=runtime, handler="main.handler")
    assert not peer.calls


def test_a_downloaded_artifact_is_the_uploaded_one(client: stoker.Client, code: Path, peer: Peer) -> None:
    artifact = client.upload_artifact(code)
    assert b"".join(client.download_artifact(artifact.sha256)) == peer.artifacts[artifact.sha256]


def test_lists_come_whole_though_the_server_answers_in_pages(client: stoker.Client, peer: Peer) -> None:
    names = [f"f{number}" for number in range(5)]
    for name in names:
        client.create_function(name)
    assert [function.name for function in client.list_functions()] == names
    assert peer.calls["ListFunctions"] == 3


@pytest.mark.parametrize(
    ("data", "payload", "content_type"),
    [
        ({"name": "you"}, b'{"name":"you"}', "application/json"),
        (None, b"null", "application/json"),
        ("grüße", '"grüße"'.encode(), "application/json"),
        (b"\x00raw", b"\x00raw", "application/octet-stream"),
    ],
)
def test_data_is_sent_as_json_and_bytes_as_they_are(
    client: stoker.Client, code: Path, data: object, payload: bytes, content_type: str
) -> None:
    deploy(client, code)
    result = client.invoke("hello", data)
    assert (result.payload, result.content_type) == (payload, content_type)
    assert (result.executed_version, result.start, result.timings.total_ms) == (1, Start.WARM, 2.0)


def test_what_cannot_be_json_is_refused_by_name(client: stoker.Client) -> None:
    with pytest.raises(InvalidArgument, match="data: cannot be sent as JSON") as caught:
        client.invoke("hello", {"when": object()})
    assert caught.value.field == "data"


def test_a_failed_function_is_raised_only_when_asked_for(client: stoker.Client, code: Path) -> None:
    deploy(client, code, name="boom")
    result = client.invoke("boom", log_tail=True)
    assert result.function_error is not None
    assert (result.function_error.kind, result.log_tail) == (FunctionErrorKind.EXCEPTION, "printed\n")
    with pytest.raises(FunctionFailed, match="ValueError: bad luck") as caught:
        result.raise_for_error()
    assert (caught.value.reason, caught.value.result) == ("FUNCTION_EXCEPTION", result)


@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        (ErrorKind.NOT_FOUND, NotFound),
        (ErrorKind.ALREADY_EXISTS, AlreadyExists),
        (ErrorKind.PERMISSION_DENIED, PermissionDenied),
        (ErrorKind.UNAUTHENTICATED, Unauthenticated),
        (ErrorKind.RESOURCE_EXHAUSTED, ResourceExhausted),
        (ErrorKind.UNAVAILABLE, Unavailable),
        (ErrorKind.INTERNAL, ServerFault),
    ],
)
def test_an_error_keeps_everything_on_its_way(
    client: stoker.Client, peer: Peer, kind: ErrorKind, error_class: type[StokerError]
) -> None:
    refusal = Refusal(kind, "SOME_REASON", "do this", field="name", metadata={"limit": "3"}, retry_after_s=40)
    peer.failures["GetFunction"].append(refusal)
    with pytest.raises(error_class) as caught:
        client.get_function("hello")
    error = caught.value
    assert (error.reason, error.message, error.field, error.metadata, error.retry_after_s) == (
        "SOME_REASON",
        "do this",
        "name",
        {"limit": "3"},
        40,
    )


def test_concurrency_is_set_and_listed(client: stoker.Client, code: Path, peer: Peer) -> None:
    assert deploy(client, code, concurrency=10).version.concurrency == 10
    changed = client.set_concurrency("hello", provisioned=2, maximum=50)
    assert (changed.function, changed.alias, changed.provisioned, changed.maximum) == ("hello", "", 2, 50)
    assert (changed.loaded, changed.leased) == (3, 1)
    of_alias = client.set_concurrency("hello", "live", provisioned=1)
    assert client.list_concurrency("hello") == [changed, of_alias]
    peer.is_scheduler_away = True
    assert client.get_concurrency("hello", "live").loaded is None
    with pytest.raises(InvalidArgument) as caught:
        client.set_concurrency("hello", provisioned=1001)
    assert caught.value.field == "concurrency.provisioned"


def test_a_function_over_its_maximum_is_told_at_once(client: stoker.Client, code: Path, peer: Peer) -> None:
    deploy(client, code)
    refusal = Refusal(
        ErrorKind.RESOURCE_EXHAUSTED, "FUNCTION_CONCURRENCY", "too many", retry_after_s=0.5, quota="functions/hello"
    )
    peer.failures["Invoke"].append(refusal)
    with pytest.raises(ResourceExhausted) as caught:
        client.invoke("hello")
    assert (caught.value.reason, caught.value.retry_after_s) == ("FUNCTION_CONCURRENCY", 0.5)
    assert peer.calls["Invoke"] == 1


def test_a_read_is_tried_again_when_its_server_is_away(client: stoker.Client, peer: Peer) -> None:
    client.create_function("hello")
    peer.failures["GetFunction"].extend([Refusal(ErrorKind.UNAVAILABLE, "AWAY", "away")] * 2)
    assert client.get_function("hello").name == "hello"
    assert peer.calls["GetFunction"] == 3


def test_what_must_not_happen_twice_is_not_tried_again(client: stoker.Client, peer: Peer) -> None:
    peer.failures["CreateFunction"].append(Refusal(ErrorKind.UNAVAILABLE, "AWAY", "away"))
    with pytest.raises(Unavailable):
        client.create_function("hello")
    assert peer.calls["CreateFunction"] == 1


@pytest.mark.parametrize(("reason", "calls"), [("SCHEDULER_UNAVAILABLE", 2), ("CONTAINER_LOST", 1)])
def test_an_invocation_is_tried_again_only_where_nothing_ran(
    client: stoker.Client, peer: Peer, code: Path, reason: str, calls: int
) -> None:
    deploy(client, code)
    peer.failures["Invoke"].append(Refusal(ErrorKind.UNAVAILABLE, reason, "away"))
    with nullcontext() if calls > 1 else pytest.raises(Unavailable, match="away"):
        client.invoke("hello")
    assert peer.calls["Invoke"] == calls


def test_a_retry_never_goes_beyond_the_deadline(client: stoker.Client, peer: Peer, code: Path) -> None:
    deploy(client, code)
    peer.failures["Invoke"].append(Refusal(ErrorKind.UNAVAILABLE, "LEASE_STALE", "again", retry_after_s=60))
    begun_s = time.monotonic()
    with pytest.raises(Unavailable):
        client.invoke("hello", timeout_s=5)
    assert time.monotonic() - begun_s < 2


def test_a_deadline_that_passes_is_told_as_one(client: stoker.Client, code: Path) -> None:
    deploy(client, code, name="slow")
    with pytest.raises(DeadlineExceeded, match="did not answer within the time"):
        client.invoke("slow", timeout_s=0.1)


def test_nobody_there_is_told_apart_from_a_broken_connection() -> None:
    with stoker.Client("127.0.0.1:1", api_key=API_KEY) as client, pytest.raises(Unavailable) as caught:
        client.create_function("hello")
    assert caught.value.reason == "UNREACHABLE"


def test_a_missing_key_is_said_before_calling(peer: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STOKER_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("STOKER_ADMIN_KEY", raising=False)
    with stoker.Client(peer.address, api_key=API_KEY) as client:
        with pytest.raises(ConfigurationError, match="set STOKER_ADMIN_KEY"):
            client.get_fleet()
        with pytest.raises(ConfigurationError):
            next(client.list_tenants())
    assert not peer.calls


def test_the_callers_trace_goes_along(client: stoker.Client, peer: Peer) -> None:
    span = NonRecordingSpan(SpanContext(trace_id=1, span_id=2, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        list(client.list_functions())
    assert peer.metadata["ListFunctions"]["traceparent"] == f"00-{1:032x}-{2:016x}-01"


def test_logs_are_read_in_order(client: stoker.Client, peer: Peer) -> None:
    client.create_function("hello")
    peer.lines = ["one", "two", "three"]
    assert [line.line for line in client.tail_logs("hello", limit=2)] == ["two", "three"]


def test_following_logs_ends_when_its_reader_leaves(client: stoker.Client, peer: Peer) -> None:
    client.create_function("hello")
    peer.lines = ["one"]
    lines = client.tail_logs("hello", follow=True)
    assert next(lines).line == "one"
    assert peer.is_following.wait(5)
    lines.close()


def test_operators_see_tenants_and_the_fleet(client: stoker.Client) -> None:
    assert client.create_tenant("acme").api_key == API_KEY
    assert [tenant.id for tenant in client.list_tenants()] == ["acme"]
    assert client.create_api_key("acme") == API_KEY
    client.revoke_api_key("a" * 16)
    fleet = client.get_fleet()
    assert (fleet.hosts[0].accelerator, fleet.vms[0].state, fleet.containers[0].function) == (
        "qemu",
        "warming",
        "hello",
    )


def test_aliases_split_and_move(client: stoker.Client, code: Path) -> None:
    deploy(client, code)
    client.create_alias("hello", "canary", {1: 100})
    client.set_alias("hello", "canary", {1: 90, 2: 10})
    assert client.get_alias("hello", "canary").routes == {1: 90, 2: 10}
    client.delete_alias("hello", "canary")
    assert [alias.name for alias in client.list_aliases("hello")] == ["live"]


async def test_the_asyncio_client_does_the_same(aio_client: stoker.aio.Client, code: Path, peer: Peer) -> None:
    sent: list[int] = []
    done = await aio_client.deploy(
        "hello", code, runtime="python3", handler="main.handler", progress=lambda now, _: sent.append(now)
    )
    assert (done.version.number, sent) == (1, [done.artifact.size_bytes])
    peer.failures["Invoke"].append(Refusal(ErrorKind.UNAVAILABLE, "LEASE_STALE", "again"))
    assert (await aio_client.invoke("hello", {"a": 1})).json() == {"a": 1}
    for name in ("a", "b", "c"):
        await aio_client.create_function(name)
    assert [function.name async for function in aio_client.list_functions()] == ["a", "b", "c", "hello"]
    assert [version.number async for version in aio_client.list_versions("hello")] == [1]
    with pytest.raises(NotFound, match="functions/nope"):
        await aio_client.get_function("nope")
    with pytest.raises(AlreadyExists):
        await aio_client.create_function("a")
    chunks = [chunk async for chunk in aio_client.download_artifact(done.artifact.sha256)]
    assert b"".join(chunks) == peer.artifacts[done.artifact.sha256]
    changed = await aio_client.set_concurrency("hello", provisioned=1)
    assert await aio_client.list_concurrency("hello") == [changed]
    assert await aio_client.get_concurrency("hello") == changed
    assert (await aio_client.get_fleet()).hosts[0].id == "host-1"


async def test_cancelling_an_asyncio_call_ends_it(aio_client: stoker.aio.Client, peer: Peer) -> None:
    await aio_client.create_function("hello")
    peer.lines = ["one"]
    lines = aio_client.tail_logs("hello", follow=True)
    assert (await anext(lines)).line == "one"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(lines), 0.3)
