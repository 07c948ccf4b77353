"""How the frontend's own methods are served: first who calls, then what is asked, then the answer.

Requests arrive here as bytes, so that nothing is parsed or checked for a caller without a key.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from stoker_service.interceptors import InvalidRequest, MalformedRequest
from stoker_service.metadata import Context
from stoker_service.validation import violations_of

from stoker_frontend.authentication import Authentication, key_in

Identify: TypeAlias = Callable[[Context], Awaitable[str]]
"""Tells the tenant that a request is of, empty for the operator; raises StokerError where it may not be made."""


def tenants_only(authentication: Authentication) -> Identify:
    """Lets tenants' keys through."""

    async def identify(context: Context) -> str:
        return await authentication.tenant(key_in(context.invocation_metadata() or ()))

    return identify


def admin_only(authentication: Authentication) -> Identify:
    """Lets the admin key through."""

    async def identify(context: Context) -> str:
        await authentication.check_admin(key_in(context.invocation_metadata() or ()))
        return ""

    return identify


def serve(service: ServiceDescriptor, servicer: object, identify: Identify) -> grpc.GenericRpcHandler:
    """Serves a service by an object with a method for each RPC, called `method(tenant, request, context)`."""
    handlers: dict[str, Any] = {}
    for method in service.methods:
        request_class = GetMessageClass(method.input_type)
        answer: Any = getattr(servicer, method.name)
        handlers[method.name] = (
            _streaming(answer, request_class, identify)
            if method.server_streaming
            else _single(answer, request_class, identify)
        )
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _single(
    answer: Callable[[str, Message, Context], Awaitable[Message]], request_class: type[Message], identify: Identify
) -> object:
    async def behavior(raw: bytes, context: Context) -> Message:
        tenant = await identify(context)
        return await answer(tenant, _parse(request_class, raw), context)

    make: Any = grpc.unary_unary_rpc_method_handler
    return make(behavior, response_serializer=_serialize)


def _streaming(
    answer: Callable[[str, Message, Context], AsyncGenerator[Message]], request_class: type[Message], identify: Identify
) -> object:
    async def behavior(raw: bytes, context: Context) -> AsyncIterator[Message]:
        tenant = await identify(context)
        async with aclosing(answer(tenant, _parse(request_class, raw), context)) as responses:
            async for response in responses:
                yield response

    make: Any = grpc.unary_stream_rpc_method_handler
    return make(behavior, response_serializer=_serialize)


def _parse(request_class: type[Message], raw: bytes) -> Message:
    try:
        request = request_class.FromString(raw)
    except DecodeError as error:
        raise MalformedRequest(request_class.DESCRIPTOR.full_name) from error
    if violations := violations_of(request):
        raise InvalidRequest(violations)
    return request


def _serialize(response: Message) -> bytes:
    return response.SerializeToString()
