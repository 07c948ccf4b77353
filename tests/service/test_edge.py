"""What every service does around its RPCs, seen by a real client of a real server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc.aio
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from stoker_service.channels import open_channel
from stoker_service.config import ServiceSettings
from stoker_service.deadlines import remaining_s
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context
from stoker_service.server import AddressInUse, running_server
from stoker_service.status import error_from_rpc
from stoker_service.validation import violations_of


class Functions(functions_pb2_grpc.FunctionServiceServicer):
    """Answers as its error says."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def GetFunction(
        self, request: functions_pb2.GetFunctionRequest, context: Context
    ) -> functions_pb2.GetFunctionResponse:
        if self._error is not None:
            raise self._error
        return functions_pb2.GetFunctionResponse(function=functions_pb2.Function(name=request.name))


class Aliases(aliases_pb2_grpc.AliasServiceServicer):
    """Gives back what it gets."""

    async def UpdateAlias(
        self, request: aliases_pb2.UpdateAliasRequest, context: Context
    ) -> aliases_pb2.UpdateAliasResponse:
        return aliases_pb2.UpdateAliasResponse(alias=request.alias)


class Versions(versions_pb2_grpc.VersionServiceServicer):
    """Publishes nothing."""

    async def PublishVersion(
        self, request: versions_pb2.PublishVersionRequest, context: Context
    ) -> versions_pb2.PublishVersionResponse:
        return versions_pb2.PublishVersionResponse(version=request.version)


@asynccontextmanager
async def serving(error: Exception | None = None) -> AsyncGenerator[grpc.aio.Channel]:
    def register(server: grpc.aio.Server) -> None:
        functions_pb2_grpc.add_FunctionServiceServicer_to_server(Functions(error), server)  # pyright: ignore[reportAbstractUsage] - the other methods stay unimplemented
        aliases_pb2_grpc.add_AliasServiceServicer_to_server(Aliases(), server)  # pyright: ignore[reportAbstractUsage] - as above
        versions_pb2_grpc.add_VersionServiceServicer_to_server(Versions(), server)  # pyright: ignore[reportAbstractUsage] - as above

    settings = ServiceSettings(listen_address="127.0.0.1:0", drain_s=0)
    async with (
        running_server(settings, register, ["stoker.v1.FunctionService", "stoker.v1.AliasService"]) as server,
        open_channel(server.address) as channel,
    ):
        yield channel


async def failure_as_is(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def failure_of(call: Any) -> StokerError:
    return error_from_rpc(await failure_as_is(call))


def get(channel: grpc.aio.Channel, name: str) -> Any:
    request = functions_pb2.GetFunctionRequest(name=name)
    return functions_pb2_grpc.FunctionServiceStub(channel).GetFunction(request, timeout=5)


async def test_a_good_request_is_answered() -> None:
    async with serving() as channel:
        assert (await get(channel, "functions/hello")).function.name == "functions/hello"


async def test_a_broken_rule_names_the_field_and_what_is_allowed() -> None:
    async with serving() as channel:
        error = await failure_of(get(channel, "Hello!"))
    assert (error.kind, error.reason, error.field) == (ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", "name")
    assert "name: does not match regex pattern `^functions/" in error.message


async def test_a_broken_rule_deep_in_a_message_is_named_by_its_path() -> None:
    routes = [aliases_pb2.WeightedVersion(version=0, weight=100)]
    alias = aliases_pb2.Alias(name="functions/f/aliases/live", routes=routes)
    async with serving() as channel:
        stub = aliases_pb2_grpc.AliasServiceStub(channel)
        error = await failure_of(stub.UpdateAlias(aliases_pb2.UpdateAliasRequest(alias=alias), timeout=5))
    assert error.field == "alias.routes[0].version"


async def test_an_error_keeps_everything_on_its_way_to_the_caller() -> None:
    raised = StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        "try again",
        metadata={"limit": "3"},
        retry_after_s=1.5,
        quota="tenants/ann",
    )
    async with serving(raised) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason, error.message) == (raised.kind, "QUEUE_FULL", "try again")
    assert (error.metadata, error.retry_after_s, error.quota) == ({"limit": "3"}, 1.5, "tenants/ann")


async def test_a_fault_of_stoker_tells_nothing_of_its_inside() -> None:
    async with serving(ValueError("secret")) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason) == (ErrorKind.INTERNAL, "INTERNAL")
    assert "secret" not in error.message


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_an_unknown_method_is_said_to_be_however_it_is_called(kind: str) -> None:
    async with serving() as channel:
        call = getattr(channel, kind)("/stoker.v1.FunctionService/Frobnicate")(
            iter([b""]) if kind.startswith("stream") else b"", timeout=5
        )
        error = await failure_of(call if kind.endswith("unary") else anext(aiter(call)))
    assert (error.kind, error.reason) == (ErrorKind.UNIMPLEMENTED, "UNKNOWN_METHOD")
    assert "stoker.v1.FunctionService/Frobnicate" in error.message


async def test_a_method_that_nobody_has_written_is_no_fault() -> None:
    async with serving() as channel:
        stub = functions_pb2_grpc.FunctionServiceStub(channel)
        error = await failure_of(stub.ListFunctions(functions_pb2.ListFunctionsRequest(), timeout=5))
    assert (error.kind, error.reason) == (ErrorKind.UNIMPLEMENTED, "NOT_IMPLEMENTED")


async def test_bytes_that_are_no_message_are_told_by_the_messages_name() -> None:
    async with serving() as channel:
        error = await failure_of(channel.unary_unary("/stoker.v1.FunctionService/GetFunction")(b"\xff\xff", timeout=5))
    assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert "stoker.v1.GetFunctionRequest" in error.message


async def test_one_failure_in_a_task_group_is_that_failure() -> None:
    inner = StokerError(ErrorKind.ABORTED, "STALE", "it has changed; read it again")
    async with serving(ExceptionGroup("of a task group", [inner])) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason, error.message) == (inner.kind, inner.reason, inner.message)


async def test_a_failure_of_a_peer_is_passed_on_with_a_reason_even_where_it_had_none() -> None:
    async with open_channel("127.0.0.1:1") as nowhere:
        unreachable = await failure_as_is(nowhere.unary_unary("/a.B/C")(b"", timeout=5))
    async with serving(unreachable) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "UNAVAILABLE")


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_that_a_call_can_fail_with_is_a_kind_of_error(code: grpc.StatusCode) -> None:
    nothing = grpc.aio.Metadata()
    assert error_from_rpc(grpc.aio.AioRpcError(code, nothing, nothing)).reason == code.name


@pytest.mark.parametrize("character", ["x", "é", "\N{PILE OF POO}"])
async def test_what_a_caller_sent_is_quoted_only_as_far_as_it_fits_into_metadata(character: str) -> None:
    long = character * 20_000
    raised = StokerError(
        ErrorKind.INVALID_ARGUMENT, "LONG", long, field=long, metadata={str(number): long for number in range(20)}
    )
    async with serving(raised) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "LONG")
    assert error.message.endswith("…")
    assert len(error.message.encode()) <= 510


async def test_many_broken_rules_are_told_by_the_first_few() -> None:
    environment = {f"{number}{'x' * 200}": "y" * 5000 for number in range(100)}
    version = versions_pb2.Version(environment=environment)
    request = versions_pb2.PublishVersionRequest(parent="functions/f", version=version)
    assert len(violations_of(request)) > 100
    async with serving() as channel:
        error = await failure_of(versions_pb2_grpc.VersionServiceStub(channel).PublishVersion(request, timeout=5))
    assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_a_call_whose_deadline_has_expired_is_not_run() -> None:
    async with serving() as channel:
        await get(channel, "functions/hello")
        stub = functions_pb2_grpc.FunctionServiceStub(channel)
        error = await failure_of(stub.GetFunction(functions_pb2.GetFunctionRequest(name="functions/f"), timeout=-1))
        assert error.kind is ErrorKind.DEADLINE_EXCEEDED
        await get(channel, "functions/hello")


@pytest.mark.parametrize(("told_s", "expected"), [(None, None), (-1.0, 0.0), (0.0, 0.0), (2.5, 2.5)])
def test_the_time_that_is_left_is_never_below_zero(told_s: float | None, expected: float | None) -> None:
    class Call:
        def time_remaining(self) -> float | None:
            return told_s

    assert remaining_s(cast("Context", Call())) == expected


async def test_channelz_tells_of_the_servers_and_their_calls() -> None:
    async with serving() as channel:
        await get(channel, "functions/hello")
        stub: Any = cast("Any", channelz_pb2_grpc).ChannelzStub(channel)
        # Others of this process may still be known; this one was called last.
        servers: list[channelz_pb2.Server] = []
        is_last = False
        while not is_last:
            start = servers[-1].ref.server_id + 1 if servers else 0
            page = await stub.GetServers(channelz_pb2.GetServersRequest(start_server_id=start), timeout=5)
            servers += page.server
            is_last = page.end
        mine = max(servers, key=lambda server: server.data.last_call_started_timestamp.ToNanoseconds())
        sockets = await stub.GetServerSockets(
            channelz_pb2.GetServerSocketsRequest(server_id=mine.ref.server_id), timeout=5
        )
        socket = await stub.GetSocket(
            channelz_pb2.GetSocketRequest(socket_id=sockets.socket_ref[0].socket_id), timeout=5
        )
        unknown = await failure_of(stub.GetServer(channelz_pb2.GetServerRequest(server_id=10**9), timeout=5))
    assert mine.data.calls_succeeded >= 1
    assert socket.socket.data.streams_started >= 2
    assert unknown.kind is ErrorKind.NOT_FOUND


async def test_health_and_reflection_answer() -> None:
    async with serving() as channel:
        # The stubs of these two packages have no types for their client classes.
        health_stub: Any = health_pb2_grpc.HealthStub(channel)
        reflection_stub: Any = cast("Any", reflection_pb2_grpc).ServerReflectionStub(channel)
        health = await health_stub.Check(health_pb2.HealthCheckRequest(service="stoker.v1.FunctionService"), timeout=5)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_stub.ServerReflectionInfo(iter([request]), timeout=5)
        names = {service.name async for answer in answers for service in answer.list_services_response.service}
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert names >= {"stoker.v1.FunctionService", "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"}


async def test_an_address_in_use_is_said_to_be() -> None:
    first = ServiceSettings(listen_address="127.0.0.1:0", drain_s=0)
    async with running_server(first, lambda _: None, []) as server:
        second = ServiceSettings(listen_address=server.address, drain_s=0)
        with pytest.raises(AddressInUse, match=server.address):
            async with running_server(second, lambda _: None, []):
                pass
