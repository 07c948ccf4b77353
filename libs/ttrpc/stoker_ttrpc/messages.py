"""What this library needs to know of protobuf messages, so that it need not know the protobuf library."""

from typing import Protocol, TypeVar

from stoker_ttrpc.errors import Code, RpcError


class Message(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes:
        """The message on the wire."""
        ...

    def ParseFromString(self, serialized: bytes) -> int:
        """Takes the fields from the wire; raises an exception of the protobuf library where they make no sense."""
        ...


MessageType = TypeVar("MessageType", bound=Message)


def parse(payload: bytes, message_class: type[MessageType], code: Code) -> MessageType:
    """Reads a message from the wire.

    Raises:
        RpcError: With `code`; it is none.
    """
    message = message_class()
    try:
        message.ParseFromString(payload)
    except Exception as error:  # noqa: BLE001 - the protobuf library's errors, which this one does not import
        raise RpcError(code, f"{len(payload)} bytes are no {message_class.__name__}: {error}") from None
    return message
