"""The connection to the guest agent; `guest/runtimes/README.md` describes the protocol."""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

FILE = 3

JOINED_BYTES = 64 * 1024
"""Bodies up to this length are sent with their header in one go."""

_SIZES = struct.Struct(">II")


class Channel:
    """The runtime's end."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=FILE)
        # Programs that the function starts have no business here.
        self._socket.set_inheritable(False)
        self._reader = self._socket.makefile("rb")

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Sends a message."""
        text = json.dumps(header).encode()
        start = _SIZES.pack(len(text), len(body)) + text
        if len(body) > JOINED_BYTES:
            self._socket.sendall(start)
            self._socket.sendall(body)
        else:
            self._socket.sendall(start + body)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Waits for a message: its header and its body.

        Raises:
            EOFError: The agent is gone.
        """
        header_size, body_size = _SIZES.unpack(self._read(_SIZES.size))
        header = json.loads(self._read(header_size))
        return header, self._read(body_size)

    def _read(self, size: int) -> bytes:
        try:
            data = self._reader.read(size)
        except ConnectionResetError:
            data = b""
        if len(data) < size:
            raise EOFError("the guest agent is gone")
        return data
