"""The connection to the language runtime in a container: frames of a JSON header and raw bytes.

`guest/runtimes/README.md` describes the protocol. The other end is the function's process and can send whatever it
likes, so all is bounded and checked here.
"""

import asyncio
import json
import select
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

_SIZES = struct.Struct(">II")
MAX_HEADER_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
USUAL_HEADER_BYTES = 128

Header: TypeAlias = Mapping[str, Any]


class ChannelClosed(Exception):
    """The runtime has closed its end, as it does when its process ends."""


class ChannelMisused(Exception):
    """What the runtime has sent makes no sense."""


@dataclass(slots=True)
class Message:
    """What a runtime has sent."""

    type: str
    header: Header
    body: bytes | None
    """None where it was longer than the limit, and thrown away."""


class RuntimeChannel:
    """The agent's end."""

    def __init__(self, connection: socket.socket) -> None:
        """Takes over one end of a socket pair."""
        connection.setblocking(False)
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._has_room = asyncio.Event()
        self._broken = ""
        self._received = bytearray()
        self._answer = select.poll()
        self._answer.register(connection, select.POLLIN)
        # What is left to be thrown away of a body that is too long, and whose it is.
        self._to_skip = 0
        self._skipped: Header = {}

    async def send(self, header: Header | bytes, body: bytes = b"") -> None:
        """Sends a message; returns when there is room for the next.

        Args:
            header: The header, or the JSON of it.
            body: The body.

        Raises:
            ChannelClosed: The runtime has closed its end.
        """
        self.write(header, body)
        await self.sent()

    def write(self, header: Header | bytes, body: bytes = b"") -> None:
        """Sends a message without waiting for room."""
        text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
        message = _SIZES.pack(len(text), len(body)) + text + body
        if self._unsent:
            self._unsent += message
            return
        sent = self._send(message)
        if sent < len(message) and not self._broken:
            self._unsent += message[sent:]
            self._loop.add_writer(self._socket, self._send_rest)

    def send_files(self, header: bytes, files: Sequence[int]) -> None:
        """Sends a message without a body, and files with it, while nothing else is on its way.

        Raises:
            OSError: The runtime has closed its end.
        """
        socket.send_fds(self._socket, [_SIZES.pack(len(header), 0) + header], files)

    async def sent(self) -> None:
        """Returns when there is room for the next message; raises as `send` does."""
        while self._unsent:
            self._has_room.clear()
            await self._has_room.wait()
        if self._broken:
            raise ChannelClosed(self._broken)

    def receive_promptly(self, max_body_bytes: int, wait_ms: int) -> Message | None:
        """The message that comes while everything else waits for it, which must be short.

        None where there is none, also where something is wrong: `receive` tells what.
        """
        if self._unsent or not self._answer.poll(wait_ms):
            return None
        try:
            self._take(self._socket.recv(READ_BYTES))
            return self._next(max_body_bytes)
        except (OSError, ChannelClosed, ChannelMisused):
            return None

    async def receive(self, max_body_bytes: int = 0) -> Message:
        """Waits for a message.

        Raises:
            ChannelClosed: The runtime has closed its end.
            ChannelMisused: What it has sent is no message.
        """
        while (message := self._next(max_body_bytes)) is None:
            try:
                data = await self._loop.sock_recv(self._socket, READ_BYTES)
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            self._take(data)
        return message

    def close(self) -> None:
        """Closes the agent's end."""
        if self._socket.fileno() >= 0:
            self._give_up("the agent has closed its end")
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._give_up(str(error))
            return 0

    def _send_rest(self) -> None:
        del self._unsent[: self._send(self._unsent)]
        if not self._unsent:
            self._loop.remove_writer(self._socket)
            self._has_room.set()

    def _give_up(self, why: str) -> None:
        self._broken = why
        self._unsent.clear()
        self._has_room.set()
        self._loop.remove_writer(self._socket)

    def _take(self, data: bytes) -> None:
        if not data:
            raise ChannelClosed("the runtime closed its connection")
        self._received += data

    def _next(self, max_body_bytes: int) -> Message | None:
        """The first message in what has been received; None while it is not whole."""
        received = self._received
        if self._to_skip:
            return self._skip()
        if len(received) < _SIZES.size:
            return None
        header_size, body_size = _SIZES.unpack_from(received)
        if header_size > MAX_HEADER_BYTES:
            raise ChannelMisused(f"a header of {header_size} bytes; at most {MAX_HEADER_BYTES} are allowed")
        begin = _SIZES.size + header_size
        end = begin + body_size
        is_too_long = body_size > max_body_bytes
        if len(received) < (begin if is_too_long else end):
            return None
        header = _header(bytes(received[_SIZES.size : begin]))
        if is_too_long:
            del received[:begin]
            self._to_skip, self._skipped = body_size, header
            return self._skip()
        body = bytes(received[begin:end])
        del received[:end]
        return Message(header["type"], header, body)

    def _skip(self) -> Message | None:
        skipped = min(self._to_skip, len(self._received))
        del self._received[:skipped]
        self._to_skip -= skipped
        return None if self._to_skip else Message(self._skipped["type"], self._skipped, None)


def _header(text: bytes) -> Header:
    # Those of results are short, and the same again and again.
    return _parse_again(text) if len(text) <= USUAL_HEADER_BYTES else _parse(text)


def _parse(text: bytes) -> Header:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChannelMisused("a header that is not JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):  # pyright: ignore[reportUnknownMemberType] - any JSON
        raise ChannelMisused("a header without a type")
    return header  # pyright: ignore[reportUnknownVariableType] - any JSON


_parse_again = lru_cache(maxsize=16)(_parse)
