"""What happens around every RPC that a service answers: a span, validation, errors as rich statuses.

It is one interceptor, not three, because each costs a warm invocation some tens of microseconds.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from opentelemetry import trace
from opentelemetry.context import attach

from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context
from stoker_service.status import STATUS_DETAILS_KEY, Violations, code_of, details_of, error_from_rpc, short
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
        """Returns the method's handler, wrapped; for an unknown method one that says so."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler: Any = await continuation(handler_call_details)
            if handler is None:
                # It is not kept: callers can think of any number of names.
                return _refuse(method.lstrip("/"))
            wrapped = self._wrapped[method] = _wrap(method.lstrip("/"), handler)
        return wrapped


def _refuse(method: str) -> "Handler":
    async def refuse(_requests: Any, context: Context) -> None:
        message = f"there is no method {method} here; reflection lists those there are"
        await _abort(context, method, StokerError(ErrorKind.UNIMPLEMENTED, "UNKNOWN_METHOD", message))

    # Whether the client sends one request or many, this kind waits for none.
    make: Any = grpc.stream_stream_rpc_method_handler
    return make(refuse)


def _wrap(method: str, handler: Any) -> "Handler":
    behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    async def answer_once(request: Any, context: Context) -> Any:
        span = _start_span(method, context)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                return await behavior(_checked(request, handler.request_streaming), context)
            except Exception as error:  # noqa: BLE001 - whatever escapes must reach the caller as a status
                await _abort(context, method, error)

    async def answer_stream(request: Any, context: Context) -> AsyncIterator[Any]:
        span = _start_span(method, context)
        # It stays the current one for the rest of the call's task, as a generator may be closed in another context than
        # the one it was begun in, where the span before could not be put back.
        attach(trace.set_span_in_context(span))
        try:
            async with aclosing(behavior(_checked(request, handler.request_streaming), context)) as responses:
                async for response in responses:
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
    # A coroutine that writes its responses itself is awaited as one that returns its only one is.
    is_generator = handler.response_streaming and not inspect.iscoroutinefunction(behavior)
    return make(
        answer_stream if is_generator else answer_once,
        _tolerant(handler.request_deserializer),
        handler.response_serializer,
    )


@dataclass(frozen=True, slots=True)
class _Malformed:
    """What has arrived instead of a message of that name."""

    message_name: str


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserializer that raises nothing: gRPC would answer for itself, without a reason."""
    if deserialize is None:
        return None
    descriptor = getattr(getattr(deserialize, "__self__", None), "DESCRIPTOR", None)
    name: str = getattr(descriptor, "full_name", "message of this method")

    def deserialize_or_tell(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return _Malformed(name)

    return deserialize_or_tell


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
    if isinstance(request, Message):
        if violations := violations_of(request):
            raise InvalidRequest(violations)
    elif isinstance(request, _Malformed):
        raise MalformedRequest(request.message_name)


class MalformedRequest(StokerError):
    """Bytes that are not the message that the method takes."""

    def __init__(self, message_name: str) -> None:
        message = f"the request is no {message_name}; is the client's proto another?"
        super().__init__(ErrorKind.INVALID_ARGUMENT, "MALFORMED_REQUEST", message)


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
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, grpc.aio.AioRpcError) and (details := _details_of_peer(error)):
        await context.abort(error.code(), error.details() or "", ((STATUS_DETAILS_KEY, details),))
    failure = _failure_of(context, method, error)
    violations = failure.violations if isinstance(failure, InvalidRequest) else ()
    span = trace.get_current_span()
    span.set_attribute("stoker.error_reason", failure.reason)
    span.set_status(trace.Status(trace.StatusCode.ERROR, failure.reason))
    await context.abort(
        code_of(failure.kind), short(failure.message), ((STATUS_DETAILS_KEY, details_of(failure, violations)),)
    )


def _details_of_peer(error: grpc.aio.AioRpcError) -> str | bytes | None:
    return dict(error.trailing_metadata() or ()).get(STATUS_DETAILS_KEY)


def _failure_of(context: Context, method: str, error: Exception) -> StokerError:
    match error:
        case StokerError():
            return error
        case grpc.aio.AioRpcError():
            return error_from_rpc(error)
        case ExceptionGroup(exceptions=(only,)) if isinstance(only, StokerError):
            # Task groups wrap even a single failure.
            return only
        case NotImplementedError() if context.code() is grpc.StatusCode.UNIMPLEMENTED:
            # What generated servicers do for methods that nobody has written.
            return StokerError(ErrorKind.UNIMPLEMENTED, "NOT_IMPLEMENTED", f"{method} does not exist here yet")
        case _:
            log.error("rpc.failed", method=method, exc_info=error)
            return StokerError(
                ErrorKind.INTERNAL, "INTERNAL", f"{method} failed by a fault of Stoker; its log has the trace"
            )
