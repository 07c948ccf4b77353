"""Errors that a caller is told of.

Domain code raises `StokerError` (or a service's few subclasses) and knows nothing of gRPC; `status.py` turns one into
a gRPC status and back.
"""

from collections.abc import Mapping
from enum import Enum

DOMAIN = "stoker.dev"


class ErrorKind(Enum):
    """In which general way a request failed. The names are those of gRPC's status codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    UNAVAILABLE = "UNAVAILABLE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    DATA_LOSS = "DATA_LOSS"
    UNKNOWN = "UNKNOWN"


class StokerError(Exception):
    """A failure with a reason that programs can match, and a message that tells a person what to do next."""

    def __init__(
        self,
        kind: ErrorKind,
        reason: str,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        quota: str = "",
    ) -> None:
        """Makes an error.

        Args:
            kind: The general way.
            reason: What exactly, in UPPER_SNAKE_CASE.
            message: For a person: what is wrong, what is allowed, what to do.
            field: The request's field at fault, as a path (`alias.routes`); empty where there is none.
            metadata: More for programs.
            retry_after_s: When trying again makes sense; None where it does not.
            quota: Whose limit is reached, as a resource (`functions/hello`, `tenants/ann`); empty where it is no quota.
        """
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.quota = quota

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"
