"""How calls fail."""

from enum import IntEnum


class Code(IntEnum):
    """gRPC status codes, as far as ttrpc peers of Stoker use them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class RpcError(Exception):
    """A call was answered with a failure. A server's handler raises it to answer so."""

    def __init__(self, code: int, message: str) -> None:
        """Makes an error.

        Args:
            code: A gRPC status code, one of `Code` where a server of Stoker made it.
            message: What happened.
        """
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        name = Code(self.code).name if self.code in Code.__members__.values() else f"CODE_{self.code}"
        return f"{name}: {self.message}"


class ConnectionLost(Exception):
    """The connection broke before the call was answered. Whether the peer carried it out isn't known."""
