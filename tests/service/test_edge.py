"""What every service does around its RPCs, seen by a real client of a real server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stoker_protos.v1 import aliases_pb2, aliases_pb2_grpc, functions_pb2, functions_pb2_grpc
from stoker_service.channels import open_channel
from stoker_service.config import ServiceSettings
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context
from stoker_service.server import AddressInUse, running_server
from stoker_service.status import error_from_rpc


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


@asynccontextmanager
async def serving(error: Exception | None = None) -> AsyncGenerator[grpc.aio.Channel]:
    def register(server: grpc.aio.Server) -> None:
        functions_pb2_grpc.add_FunctionServiceServicer_to_server(Functions(error), server)  # pyright: ignore[reportAbstractUsage] - the other methods stay unimplemented
        aliases_pb2_grpc.add_AliasServiceServicer_to_server(Aliases(), server)  # pyright: ignore[reportAbstractUsage] - as above

    settings = ServiceSettings(listen_address="127.0.0.1:0", drain_s=0)
    async with (
        running_server(settings, register, ["stoker.v1.FunctionService", "stoker.v1.AliasService"]) as server,
        open_channel(server.address) as channel,
    ):
        yield channel


async def failure_of(call: Any) -> StokerError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from_rpc(caught.value)


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
        ErrorKind.RESOURCE_EXHAUSTED, "QUEUE_FULL", "try again", metadata={"limit": "3"}, retry_after_s=1.5
    )
    async with serving(raised) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason, error.message) == (raised.kind, "QUEUE_FULL", "try again")
    assert (error.metadata, error.retry_after_s) == ({"limit": "3"}, 1.5)


async def test_a_fault_of_stoker_tells_nothing_of_its_inside() -> None:
    async with serving(ValueError("secret")) as channel:
        error = await failure_of(get(channel, "functions/hello"))
    assert (error.kind, error.reason) == (ErrorKind.INTERNAL, "INTERNAL")
    assert "secret" not in error.message


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
