"""Services that another process serves, passed on as bytes.

The status of the other side, its details, the caller's deadline and its cancellation go through unchanged. What is
added is the tenant, and for the history the id of the caller's key.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from stoker_service.deadlines import remaining_s
from stoker_service.errors import StokerError
from stoker_service.metadata import ACTOR, TENANT, Context
from stoker_service.status import STATUS_DETAILS_KEY, error_from_rpc
from stoker_service.telemetry import traceparent

from stoker_frontend import errors
from stoker_frontend.authentication import key_in
from stoker_frontend.methods import Identify

SINGLE_S = 60.0
"""How long a call with one request and one response may take where the caller set no deadline, in seconds."""
STREAM_S = 3600.0
"""How long any other may take, in seconds."""
MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""More than the largest request that can be valid, a version with as many and as long variables as there may be."""


def forward(
    service: ServiceDescriptor,
    channel: grpc.aio.Channel,
    identify: Identify,
    away: Callable[[], StokerError],
    answered: Callable[[str, str, bytes], None] = lambda _tenant, _method, _request: None,
) -> grpc.GenericRpcHandler:
    """Serves a service by passing its calls on.

    Args:
        service: The service.
        channel: Who answers.
        identify: Who may call.
        away: What callers are told while nobody answers.
        answered: Told the tenant, the method and the request of each call with a single request, once it has been
            answered or has failed; it may have had its effect even then.
    """
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method.name: _forward_method(f"/{service.full_name}/{method.name}", method, channel, identify, away, answered)
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _forward_method(
    path: str,
    method: MethodDescriptor,
    channel: Any,
    identify: Identify,
    away: Callable[[], StokerError],
    answered: Callable[[str, str, bytes], None],
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    # The kinds of calls differ only in these two, which the types of grpc.aio do not know to be alike.
    request_kind = "stream" if method.client_streaming else "unary"
    response_kind = "stream" if method.server_streaming else "unary"
    call_on: Any = getattr(channel, f"{request_kind}_{response_kind}")(path)
    longest_s = STREAM_S if method.client_streaming or method.server_streaming else SINGLE_S

    def start(tenant: str, request: Any, context: Context) -> Any:
        left_s = remaining_s(context)
        if not method.client_streaming:
            _check_size(request)
        metadata = [(ACTOR, key_in(context.invocation_metadata() or ()).key_id)]
        if tenant:
            metadata.append((TENANT, tenant))
        if method.client_streaming:
            # The channel adds the trace to all calls but these.
            metadata.append(("traceparent", traceparent()))
        return call_on(request, timeout=longest_s if left_s is None else left_s, metadata=metadata)

    async def answer_once(request: Any, context: Context) -> bytes:
        tenant = await identify(context)
        requests = _Requests(request) if method.client_streaming else None
        try:
            return await start(tenant, requests or request, context)
        except grpc.aio.AioRpcError as failure:
            raise _passed_on(failure, away) from failure
        except asyncio.CancelledError:
            if requests is not None and requests.refusal is not None:
                raise requests.refusal from None
            raise
        finally:
            if requests is None:
                answered(tenant, method.name, request)

    async def answer_stream(request: Any, context: Context) -> AsyncIterator[bytes]:
        tenant = await identify(context)
        call = start(tenant, request, context)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as failure:
            raise _passed_on(failure, away) from failure
        finally:
            call.cancel()

    make: Any = getattr(grpc, f"{request_kind}_{response_kind}_rpc_method_handler")
    return make(answer_stream if method.server_streaming else answer_once)


def _check_size(request: bytes) -> None:
    if len(request) > MAX_REQUEST_BYTES:
        raise errors.request_too_large(len(request), MAX_REQUEST_BYTES)


class _Requests:
    """A caller's requests on their way. One that is refused ends them, and grpc.aio then only cancels the call."""

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        self._requests = requests
        self.refusal: StokerError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for request in self._requests:
            try:
                _check_size(request)
            except StokerError as error:
                self.refusal = error
                raise
            yield request


def _passed_on(failure: grpc.aio.AioRpcError, away: Callable[[], StokerError]) -> Exception:
    """What the caller is told of a failed call: what the other side said; where it said nothing, why."""
    if STATUS_DETAILS_KEY in dict(failure.trailing_metadata() or ()):
        return failure
    # A peer that is being stopped cancels what it has not answered.
    is_away = failure.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    return away() if is_away else error_from_rpc(failure)
