"""The connection to the guest agent; `guest/runtimes/README.md` describes the protocol."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

FILE = 3

READ_BYTES = 64 * 1024

_decode = json.JSONDecoder().decode
_SIZES = struct.Struct(">II")


class Channel:
    """The runtime's end."""

    def __init__(self) -> None:
        self.socket = socket.socket(fileno=FILE)
        # Programs that the function starts have no business here.
        self.socket.set_inheritable(False)
        # It mostly reads a whole message at once.
        self._reader = self.socket.makefile("rb", READ_BYTES)
        # What several threads of a function print at once must not get mixed up.
        self._sending = threading.Lock()

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Sends a message."""
        self.send_encoded(json.dumps(header).encode(), body)

    def send_encoded(self, header: bytes, body: bytes) -> None:
        """Sends a message whose header is JSON already."""
        message = _SIZES.pack(len(header), len(body)) + header + body
        with self._sending:
            self.socket.sendall(message)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Waits for a message: its header and its body.

        Raises:
            EOFError: The agent is gone.
        """
        header_size, body_size = _SIZES.unpack(self._read(_SIZES.size))
        header = _decode(self._read(header_size).decode())
        return header, self._read(body_size)

    def receive_files(self, count: int) -> list[int]:
        """Waits for a message that brings files, while no other is on its way.

        Raises:
            EOFError: The agent is gone.
        """
        message, files, _, _ = socket.recv_fds(self.socket, READ_BYTES, count, socket.MSG_CMSG_CLOEXEC)
        if not message:
            raise EOFError("the guest agent is gone")
        return files

    async def receive_from(self, reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
        """Waits for a message, as `receive` does, where a reader gets what is received.

        Raises:
            IncompleteReadError: The agent is gone.
        """
        header_size, body_size = _SIZES.unpack(await reader.readexactly(_SIZES.size))
        header = json.loads(await reader.readexactly(header_size))
        return header, await reader.readexactly(body_size)

    def _read(self, size: int) -> bytes:
        try:
            data = self._reader.read(size)
        except ConnectionResetError:
            data = b""
        if len(data) < size:
            raise EOFError("the guest agent is gone")
        return data
