"""gRPC statuses as exceptions."""

from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from stoker.errors import BY_STATUS, ServerFault, StokerError, Unavailable

DETAILS_KEY = "grpc-status-details-bin"

UNREACHABLE = "UNREACHABLE"
"""The reason of an error where no connection came about, so that nothing was sent."""
CONNECTION_LOST = "CONNECTION_LOST"
"""The reason of an error where a connection broke, so that nobody knows what has come of the call."""


class Failure(Protocol):
    """What `grpc.RpcError` and `grpc.aio.AioRpcError` have in common."""

    def code(self) -> grpc.StatusCode:
        """The status code."""
        ...

    def details(self) -> str | None:
        """The status's message."""
        ...

    def trailing_metadata(self) -> Any:
        """The metadata that came with the status."""
        ...


def error_of(failure: Failure, endpoint: str) -> StokerError:
    """The exception that a failed call to `endpoint` is raised as."""
    status = failure.code().name
    message = failure.details() or status.replace("_", " ").lower()
    details = _details(failure)
    if not details and status == "UNAVAILABLE":
        return _no_answer(message, endpoint)
    if not details and status == "DEADLINE_EXCEEDED":
        message = f"Stoker at {endpoint} did not answer within the time that the call had"
    error = BY_STATUS.get(status, ServerFault)(status, message)
    for detail in details:
        info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            error.reason = info.reason
            error.metadata = dict(info.metadata)
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            error.field = bad_request.field_violations[0].field
        elif detail.Unpack(retry):
            error.retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return error


def _no_answer(message: str, endpoint: str) -> StokerError:
    # gRPC tells these two apart in its text alone. What is not recognized counts as the worse one.
    if "failed to connect" in message.lower() or "dns resolution failed" in message.lower():
        return Unavailable(UNREACHABLE, f"cannot reach Stoker at {endpoint}: {message}")
    return Unavailable(
        CONNECTION_LOST,
        f"the connection to Stoker at {endpoint} broke ({message}); the call may have had its effect",
    )


def _details(failure: Failure) -> list[AnyMessage]:
    metadata: dict[str, str | bytes] = dict(failure.trailing_metadata() or ())
    raw = metadata.get(DETAILS_KEY)
    if not isinstance(raw, bytes):
        return []
    status = Status()
    try:
        status.ParseFromString(raw)
    except DecodeError:
        return []
    return list(status.details)
