"""The one place where errors become gRPC statuses, and gRPC statuses errors.

A status carries `google.rpc.ErrorInfo`, and where they help `BadRequest`, `QuotaFailure` and `RetryInfo`. It travels as
metadata, of which gRPC takes 8 KiB for certain; so texts, which may quote what a caller sent, are cut.
"""

from collections.abc import Sequence

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from stoker_service.errors import DOMAIN, ErrorKind, StokerError

STATUS_DETAILS_KEY = "grpc-status-details-bin"

MAX_TEXT_BYTES = 500
"""How much of a message a caller is told; those outside ASCII take three times as much on the way."""
MAX_VIOLATIONS = 5
MAX_METADATA = 8

Violations = Sequence[tuple[str, str]]
"""Fields at fault, each with what is wrong with it."""


def code_of(kind: ErrorKind) -> grpc.StatusCode:
    """The gRPC status code of a kind of error."""
    return grpc.StatusCode[kind.name]


def short(text: str, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """The text, cut where it takes more bytes."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= limit_bytes else f"{raw[:limit_bytes].decode('utf-8', 'ignore')}…"


def details_of(error: StokerError, violations: Violations = ()) -> bytes:
    """The serialized `google.rpc.Status` of an error, for the trailing metadata `grpc-status-details-bin`."""
    code, _ = code_of(error.kind).value
    status = Status(code=code, message=short(error.message))
    metadata = {key: short(value, 100) for key, value in list(error.metadata.items())[:MAX_METADATA]}
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if error.field and not violations:
        violations = [(error.field, error.message)]
    if violations:
        bad_request = BadRequest()
        for field, description in violations[:MAX_VIOLATIONS]:
            bad_request.field_violations.add(field=short(field, 100), description=short(description, 200))
        status.details.add().Pack(bad_request)
    if error.quota:
        quota = QuotaFailure()
        quota.violations.add(subject=short(error.quota, 100), description=short(error.message, 200))
        status.details.add().Pack(quota)
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status.SerializeToString()


def error_from_rpc(failure: grpc.aio.AioRpcError) -> StokerError:
    """The error that a failed call was answered with.

    A status without ErrorInfo, as gRPC itself makes when a peer cannot be reached, gets the status code as its reason.
    """
    kind = ErrorKind[failure.code().name]
    error = StokerError(kind, kind.name, failure.details() or kind.name.replace("_", " ").lower())
    for detail in _details(failure):
        info = ErrorInfo()
        bad_request = BadRequest()
        quota = QuotaFailure()
        retry = RetryInfo()
        if detail.Unpack(info):
            error.reason = info.reason
            error.metadata = dict(info.metadata)
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            error.field = bad_request.field_violations[0].field
        elif detail.Unpack(quota) and quota.violations:
            error.quota = quota.violations[0].subject
        elif detail.Unpack(retry):
            error.retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return error


def _details(failure: grpc.aio.AioRpcError) -> list[AnyMessage]:
    raw = dict(failure.trailing_metadata() or ()).get(STATUS_DETAILS_KEY)
    if not isinstance(raw, bytes):
        return []
    status = Status()
    try:
        status.ParseFromString(raw)
    except DecodeError:
        return []
    return list(status.details)
