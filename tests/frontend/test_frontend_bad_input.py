"""Bad input, over all public methods: the right status, a reason, the field, and the next good request is answered.

The frontend and the codestore are the real ones; the scheduler and the host are peers.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from stoker_codestore.codestore import running_codestore
from stoker_codestore.config import CodestoreSettings
from stoker_frontend import api_keys
from stoker_protos.admin.v1 import fleet_pb2, tenants_pb2
from stoker_protos.v1 import (
    aliases_pb2,
    artifacts_pb2,
    artifacts_pb2_grpc,
    concurrency_pb2,
    functions_pb2,
    invocations_pb2,
    logs_pb2,
    rollouts_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from stoker_service.channels import open_channel
from stoker_service.errors import ErrorKind
from stoker_service.status import STATUS_DETAILS_KEY

from tests.frontend.archives import GOOD_ZIP, MIB
from tests.frontend.bad_requests import BAD_REQUESTS, GARBAGE, Bad, alias, upload_of, version
from tests.frontend.host_peer import for_ever
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import Metadata, World, bearer, running_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = [
    pb2.DESCRIPTOR.services_by_name[name]
    for pb2, name in (
        (functions_pb2, "FunctionService"),
        (versions_pb2, "VersionService"),
        (aliases_pb2, "AliasService"),
        (artifacts_pb2, "ArtifactService"),
        (rollouts_pb2, "RolloutService"),
        (concurrency_pb2, "ConcurrencyService"),
        (invocations_pb2, "InvocationService"),
        (logs_pb2, "LogService"),
        (tenants_pb2, "TenantService"),
        (fleet_pb2, "FleetService"),
    )
]
METHODS = {f"{service.name}/{method.name}": method for service in SERVICES for method in service.methods}
GOOD_WHEN_EMPTY = {"FunctionService/ListFunctions", "TenantService/ListTenants", "FleetService/GetFleet"}

Entered = TypeVar("Entered")


@asynccontextmanager
async def in_a_task(context: AbstractAsyncContextManager[Entered]) -> AsyncGenerator[Entered]:
    """Enters and leaves a context in one task, which a fixture by itself would not."""
    entered: asyncio.Future[Entered] = asyncio.get_running_loop().create_future()
    may_leave = asyncio.Event()

    async def hold() -> None:
        async with context as value:
            entered.set_result(value)
            await may_leave.wait()

    holding = asyncio.create_task(hold())
    await asyncio.wait([holding, entered], return_when=asyncio.FIRST_COMPLETED)
    if holding.done():
        await holding
    yield await entered
    may_leave.set()
    await holding


@dataclass(frozen=True)
class Platform:
    """The world, and a channel that sends whatever it is given."""

    world: World
    raw: Any


@asynccontextmanager
async def running_platform(directory: Path) -> AsyncGenerator[Platform]:
    settings = CodestoreSettings(
        listen_address="127.0.0.1:0",
        drain_s=0,
        database_url=f"sqlite+aiosqlite:///{directory}/codestore.db",
        artifacts_url=f"file://{directory}/artifacts",
        uploads_dir=directory / "uploads",
    )
    async with (
        running_codestore(settings) as codestore,
        running_world(codestore_address=codestore.address) as world,
        open_channel(world.address, max_message_bytes=80 * MIB) as raw,
    ):
        await deploy(world)
        yield Platform(world, raw)


async def deploy(world: World) -> None:
    """Deploys the functions that the bad requests are about: `hello` in two versions, and `draft`, not yet live."""
    ann: dict[str, Any] = {"timeout": WITHIN_S, "metadata": world.keys["ann"]}
    for name in ("hello", "draft"):
        function = functions_pb2.Function(name=f"functions/{name}")
        await world.functions.CreateFunction(functions_pb2.CreateFunctionRequest(function=function), **ann)
    bobs = functions_pb2.CreateFunctionRequest(function=functions_pb2.Function(name="functions/bobs"))
    await world.functions.CreateFunction(bobs, timeout=WITHIN_S, metadata=world.keys["bob"])
    await artifacts_pb2_grpc.ArtifactServiceStub(world.channel).UploadArtifact(iter(upload_of(GOOD_ZIP)), **ann)
    versions = versions_pb2_grpc.VersionServiceStub(world.channel)
    for description in ("one", "two"):
        await versions.PublishVersion(version(description=description), **ann)
    await world.aliases.CreateAlias(aliases_pb2.CreateAliasRequest(alias=alias("live", (1, 100))), **ann)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Platform]:
    async with in_a_task(running_platform(tmp_path_factory.mktemp("platform"))) as running:
        yield running


def call(platform: Platform, method: str, requests: list[bytes], metadata: Metadata) -> Any:
    """Calls a method with bytes, whatever they are."""
    descriptor = METHODS[method]
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    request_kind = "stream" if descriptor.client_streaming else "unary"
    response_kind = "stream" if descriptor.server_streaming else "unary"
    begun = getattr(platform.raw, f"{request_kind}_{response_kind}")(path)(
        iter(requests) if descriptor.client_streaming else requests[0], timeout=WITHIN_S, metadata=metadata
    )
    return anext(aiter(begun)) if descriptor.server_streaming else begun


def key_for(platform: Platform, method: str) -> Metadata:
    """The key that a method wants."""
    is_admins = METHODS[method].containing_service.full_name.startswith("stoker.admin.")
    return platform.world.admin if is_admins else platform.world.keys["ann"]


async def check_failure(failing: Any, kind: ErrorKind, reason: str, field: str = "", says: str = "") -> None:
    """Checks what a call fails with, down to the details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await failing
    failure = caught.value
    message = failure.details() or ""
    info, bad_request = ErrorInfo(), BadRequest()
    status = dict(failure.trailing_metadata() or ())[STATUS_DETAILS_KEY]
    assert isinstance(status, bytes)
    for detail in Status.FromString(status).details:
        if not detail.Unpack(info):
            detail.Unpack(bad_request)
    assert (failure.code().name, info.reason, info.domain) == (kind.name, reason, "stoker.dev"), message
    assert says in message
    if field:
        assert field in [violation.field for violation in bad_request.field_violations]
        assert f"{field}: " in message


async def check_good_requests_are_answered(platform: Platform) -> None:
    world = platform.world
    answer = await world.invoke(b'{"good": true}')
    assert (answer.payload, answer.executed_version) == (b'{"good": true}', 1)
    listed = await world.functions.ListFunctions(
        functions_pb2.ListFunctionsRequest(), timeout=WITHIN_S, metadata=world.keys["ann"]
    )
    assert [function.name for function in listed.functions] == ["functions/draft", "functions/hello"]


@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=lambda bad: f"{bad.method}: {bad.what}")
async def test_a_bad_request_is_refused_with_its_reason(platform: Platform, bad: Bad) -> None:
    requests = [each.SerializeToString() if isinstance(each, Message) else each for each in bad.requests()]
    failing = call(platform, bad.method, requests, key_for(platform, bad.method))
    await check_failure(failing, bad.kind, bad.reason, bad.field, bad.says)
    await check_good_requests_are_answered(platform)


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_refused(platform: Platform, method: str) -> None:
    failing = call(platform, method, [GARBAGE], key_for(platform, method))
    name = METHODS[method].input_type.full_name
    await check_failure(failing, ErrorKind.INVALID_ARGUMENT, "MALFORMED_REQUEST", says=name)
    await check_good_requests_are_answered(platform)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - GOOD_WHEN_EMPTY))
async def test_an_empty_request_is_refused_by_its_first_required_field(platform: Platform, method: str) -> None:
    failing = call(platform, method, [b""], key_for(platform, method))
    [field, *_] = METHODS[method].input_type.fields
    required = field.containing_oneof.name if field.containing_oneof else field.name
    await check_failure(failing, ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", required)
    await check_good_requests_are_answered(platform)


@pytest.mark.parametrize("method", METHODS)
async def test_nothing_is_read_without_a_key_of_the_right_kind(platform: Platform, method: str) -> None:
    unknown = bearer(api_keys.generate().text)
    for metadata, reason in (
        ((), "API_KEY_MISSING"),
        (bearer("stk.x"), "API_KEY_INVALID"),
        (unknown, "API_KEY_INVALID"),
    ):
        await check_failure(call(platform, method, [GARBAGE], metadata), ErrorKind.UNAUTHENTICATED, reason)
    is_admins = key_for(platform, method) == platform.world.admin
    wrong, reason = (
        (platform.world.keys["ann"], "ADMIN_KEY_REQUIRED")
        if is_admins
        else (platform.world.admin, "TENANT_KEY_REQUIRED")
    )
    await check_failure(call(platform, method, [GARBAGE], wrong), ErrorKind.PERMISSION_DENIED, reason)
    await check_good_requests_are_answered(platform)


@pytest.mark.parametrize("path", ["/stoker.v1.FunctionService/Frobnicate", "/stoker.v1.Nothing/Get", "/x"])
async def test_an_unknown_method_is_said_to_be(platform: Platform, path: str) -> None:
    failing = platform.raw.unary_unary(path)(b"", timeout=WITHIN_S, metadata=platform.world.keys["ann"])
    await check_failure(failing, ErrorKind.UNIMPLEMENTED, "UNKNOWN_METHOD", says=path.lstrip("/"))
    await check_good_requests_are_answered(platform)


@pytest.mark.parametrize("timeout_s", [-1.0, 0.0, 0.000_001])
async def test_a_deadline_that_has_expired_ends_the_call(
    platform: Platform, timeout_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        # An answer may be quicker than the clock.
        slow.setattr(platform.world.host, "run", for_ever)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await platform.world.invoke(timeout_s=timeout_s)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await check_good_requests_are_answered(platform)


async def test_more_bytes_than_are_read_at_all_are_refused_by_grpc_itself(platform: Platform) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(platform, "InvocationService/Invoke", [bytes(73 * MIB)], platform.world.keys["ann"])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await check_good_requests_are_answered(platform)
