"""What can go wrong, as exceptions.

Each has a reason that programs can match, and a message that tells a person what to do next. The class says in which
general way a call failed; it follows from the gRPC status code.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoker.models import FunctionError, InvokeResult


class StokerError(Exception):
    """Anything that this package raises on purpose."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Makes an error.

        Args:
            reason: What exactly, in UPPER_SNAKE_CASE.
            message: For a person: what is wrong, what is allowed, what to do.
            field: The request's field at fault, as a path (`alias.routes`); empty where there is none.
            metadata: More for programs.
            retry_after_s: When trying again makes sense, in seconds; None where the server named no time.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, {self.message!r})"


class InvalidArgument(StokerError):
    """The request is wrong as it stands; `field` names what in it."""


class NotFound(StokerError):
    """What the request names is not there."""


class AlreadyExists(StokerError):
    """What the request would make is there already."""


class FailedPrecondition(StokerError):
    """The request is right, but not in the present state."""


class Aborted(StokerError):
    """Somebody else changed it in the meantime: read it again."""


class Unauthenticated(StokerError):
    """There is no API key, or one that is not known."""


class PermissionDenied(StokerError):
    """The API key is good, but not for this."""


class ResourceExhausted(StokerError):
    """A limit is reached; `retry_after_s` says when to try again."""


class DeadlineExceeded(StokerError):
    """The time that the call had is over; an invocation may have run."""


class Cancelled(StokerError):
    """The call was cancelled."""


class Unavailable(StokerError):
    """Stoker, or a part of it, does not answer."""


class Unimplemented(StokerError):
    """The server does not know the method: it is older than this client."""


class ServerFault(StokerError):
    """A fault inside Stoker."""


class FunctionFailed(StokerError):
    """The function itself failed. Raised by `InvokeResult.raise_for_error()` alone."""

    def __init__(self, result: "InvokeResult", error: "FunctionError") -> None:
        """Makes an error of the result of an invocation that has one."""
        super().__init__(f"FUNCTION_{error.kind.upper()}", f"{error.type}: {error.message}")
        self.result = result
        self.function_error = error


class ConfigurationError(StokerError):
    """The client does not know where to call or as whom."""


class PackingError(StokerError):
    """The code to deploy cannot be packed."""


BY_STATUS: Mapping[str, type[StokerError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "OUT_OF_RANGE": InvalidArgument,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": Aborted,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Cancelled,
    "UNAVAILABLE": Unavailable,
    "UNIMPLEMENTED": Unimplemented,
}
"""The class of each gRPC status code; any other code is a `ServerFault`."""
