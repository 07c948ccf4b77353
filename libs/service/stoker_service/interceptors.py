"""What happens around every RPC that a service answers: a span, validation, errors as rich statuses.

It is one interceptor, not three, because each costs a warm invocation some tens of microseconds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import Message
from opentelemetry import trace

from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context
from stoker_service.status import STATUS_DETAILS_KEY, Violations, code_of, details_of
from stoker_service.telemetry import PROPAGATOR, tracer
from stoker_service.validation import violations_of

log = structlog.get_logger()

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class ServerEdge(grpc.aio.ServerInterceptor):  # type: ignore[misc, type-arg] - generic in the stubs alone
    """Wraps each method's handler, once."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Returns the method's handler, wrapped; an unknown method's None is passed on."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler: Any = await continuation(handler_call_details)
            if handler is None:
                return handler
            wrapped = self._wrapped[method] = _wrap(method.lstrip("/"), handler)
        return wrapped


def _wrap(method: str, handler: Any) -> "Handler":
    behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    async def answer_once(request: Any, context: Context) -> Any:
        with trace.use_span(_start_span(method, context), end_on_exit=True, record_exception=False):
            try:
                return await behavior(_checked(request, handler.request_streaming), context)
            except Exception as error:  # noqa: BLE001 - whatever escapes must reach the caller as a status
                await _abort(context, method, error)

    async def answer_stream(request: Any, context: Context) -> AsyncIterator[Any]:
        # Not the current span: a generator may be closed in another context than the one it was begun in.
        span = _start_span(method, context)
        try:
            async for response in behavior(_checked(request, handler.request_streaming), context):
                yield response
        except Exception as error:  # noqa: BLE001 - whatever escapes must reach the caller as a status
            await _abort(context, method, error)
        finally:
            span.end()

    match handler.request_streaming, handler.response_streaming:
        case False, False:
            make: Any = grpc.unary_unary_rpc_method_handler
        case False, True:
            make = grpc.unary_stream_rpc_method_handler
        case True, False:
            make = grpc.stream_unary_rpc_method_handler
        case _:
            make = grpc.stream_stream_rpc_method_handler
    return make(
        answer_stream if handler.response_streaming else answer_once,
        handler.request_deserializer,
        handler.response_serializer,
    )


def _start_span(method: str, context: Context) -> trace.Span:
    carrier = {key: value for key, value in context.invocation_metadata() or () if key in PROPAGATOR.fields}
    return tracer().start_span(method, context=PROPAGATOR.extract(carrier), kind=trace.SpanKind.SERVER)


def _checked(request: Any, is_stream: bool) -> Any:
    if is_stream:
        return _checked_stream(request)
    _check(request)
    return request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _check(request)
        yield request


def _check(request: Any) -> None:
    # A service that only passes a request on handles it as bytes; the service behind it checks.
    if isinstance(request, Message) and (violations := violations_of(request)):
        raise InvalidRequest(violations)


class InvalidRequest(StokerError):
    """A request that breaks rules of its proto."""

    def __init__(self, violations: Violations) -> None:
        message = "; ".join(f"{field}: {what}" for field, what in violations)
        super().__init__(ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", message, field=violations[0][0])
        self.violations = violations


async def _abort(context: Context, method: str, error: Exception) -> None:
    """Ends the call with the status of an error.

    Raises:
        grpc.aio.AbortError: Always; that is how grpc.aio ends a call.
    """
    match error:
        case grpc.aio.AbortError():
            raise error
        case StokerError():
            failure = error
        case grpc.aio.AioRpcError():
            details = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS_KEY)
            trailing = ((STATUS_DETAILS_KEY, details),) if details else ()
            await context.abort(error.code(), error.details() or "", trailing)
            return
        case _:
            log.error("rpc.failed", method=method, exc_info=error)
            failure = StokerError(
                ErrorKind.INTERNAL, "INTERNAL", f"{method} failed by a fault of Stoker; its log has the trace"
            )
    violations = failure.violations if isinstance(failure, InvalidRequest) else ()
    trace.get_current_span().set_attribute("stoker.error_reason", failure.reason)
    await context.abort(
        code_of(failure.kind), failure.message, ((STATUS_DETAILS_KEY, details_of(failure, violations)),)
    )
