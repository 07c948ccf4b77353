"""The connection to the language runtime in a container: frames of a JSON header and raw bytes.

`guest/runtimes/README.md` describes the protocol. The other end is the function's process and can send whatever it
likes, so all is bounded and checked here.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

_SIZES = struct.Struct(">II")
MAX_HEADER_BYTES = 256 * 1024
BUFFER_BYTES = 256 * 1024
SKIP_BYTES = 64 * 1024

Header: TypeAlias = Mapping[str, Any]


class ChannelClosed(Exception):
    """The runtime has closed its end, as it does when its process ends."""


class ChannelMisused(Exception):
    """What the runtime has sent makes no sense."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a runtime has sent."""

    type: str
    header: Header
    body: bytes | None
    """None where it was longer than the limit, and thrown away."""


class RuntimeChannel:
    """The agent's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, connection: socket.socket) -> "RuntimeChannel":
        """Makes a channel of one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=BUFFER_BYTES))

    async def send(self, header: Header, body: bytes = b"") -> None:
        """Sends a message; returns when there is room for the next.

        Raises:
            ChannelClosed: The runtime has closed its end.
        """
        self.write(header, body)
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def write(self, header: Header, body: bytes = b"") -> None:
        """Sends a message without waiting for room, as is right for a short one."""
        text = json.dumps(header, separators=(",", ":")).encode()
        start = _SIZES.pack(len(text), len(body)) + text
        if len(body) > BUFFER_BYTES:
            self._writer.write(start)
            self._writer.write(body)
        else:
            self._writer.write(start + body)

    async def receive(self, max_body_bytes: int = 0) -> Message:
        """Waits for a message.

        Raises:
            ChannelClosed: The runtime has closed its end.
            ChannelMisused: What it has sent is no message.
        """
        try:
            header_size, body_size = _SIZES.unpack(await self._reader.readexactly(_SIZES.size))
            if header_size > MAX_HEADER_BYTES:
                raise ChannelMisused(f"a header of {header_size} bytes; at most {MAX_HEADER_BYTES} are allowed")
            header = _header(await self._reader.readexactly(header_size))
            if body_size <= max_body_bytes:
                return Message(header["type"], header, await self._reader.readexactly(body_size))
            while body_size > 0:
                body_size -= len(await self._reader.readexactly(min(body_size, SKIP_BYTES)))
            return Message(header["type"], header, None)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChannelClosed("the runtime closed its connection") from error

    def close(self) -> None:
        """Closes the agent's end."""
        self._writer.close()


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChannelMisused("a header that is not JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):  # pyright: ignore[reportUnknownMemberType] - any JSON
        raise ChannelMisused("a header without a type")
    return header  # pyright: ignore[reportUnknownVariableType] - any JSON
