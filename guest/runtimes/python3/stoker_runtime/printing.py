"""What a function prints while several invocations run: each line goes to the one whose code has printed it.

The invocation is known by a context variable, which follows its tasks, and `asyncio.to_thread`. What is printed outside
of one, or past `sys.stdout` and `sys.stderr`, goes into the pipes as it always does, and is the container's.
"""

import io
import os
import sys
import threading
from contextvars import ContextVar
from typing import Any

from .channel import Channel

MOST_BYTES = 64 * 1024
"""How much is sent at once, at the most."""


class Printer:
    """What one invocation prints, kept until a line is whole."""

    def __init__(self, channel: Channel, invocation_id: str) -> None:
        self._channel = channel
        self._id = invocation_id
        self._kept: dict[str, bytearray] = {}
        self._lock = threading.Lock()

    def write(self, stream: str, data: bytes) -> None:
        """Takes bytes of one of the streams."""
        with self._lock:
            kept = self._kept.setdefault(stream, bytearray())
            kept += data
            if b"\n" in data or len(kept) >= MOST_BYTES:
                self._send(stream, kept)

    def flush(self) -> None:
        """Sends what is kept."""
        with self._lock:
            for stream, kept in self._kept.items():
                self._send(stream, kept)

    def _send(self, stream: str, kept: bytearray) -> None:
        for begin in range(0, len(kept), MOST_BYTES):
            header = {"type": "output", "invocation_id": self._id, "stream": stream}
            self._channel.send(header, bytes(kept[begin : begin + MOST_BYTES]))
        kept.clear()


CURRENT: "ContextVar[Printer | None]" = ContextVar("stoker_printer", default=None)
"""The invocation under way."""


class _Bytes(io.RawIOBase):
    """A stream of bytes, `sys.stdout.buffer`."""

    def __init__(self, stream: str, file: int) -> None:
        super().__init__()
        self.name = f"<{stream}>"
        self._stream = stream
        self._file = file

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file

    def write(self, data: Any, /) -> int:
        taken = bytes(data)
        if printer := CURRENT.get():
            printer.write(self._stream, taken)
        else:
            rest = memoryview(taken)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        return len(taken)

    def flush(self) -> None:
        if printer := CURRENT.get():
            printer.flush()


class _Text(io.TextIOBase):
    """A stream of text, `sys.stdout`. It keeps nothing back itself, since invocations take turns within a line."""

    def __init__(self, stream: str, file: int) -> None:
        super().__init__()
        self.buffer = _Bytes(stream, file)
        self.name = self.buffer.name

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - a constant here
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.buffer.fileno()

    def write(self, text: str, /) -> int:
        self.buffer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self.buffer.flush()

    def reconfigure(self, **_: Any) -> None:
        """Does nothing: every line is sent when it is whole."""


def attribute_output() -> None:
    """Puts streams that attribute what they are given in the place of `sys.stdout` and `sys.stderr`."""
    for stream, file in (("stdout", 1), ("stderr", 2)):
        getattr(sys, stream).flush()
        setattr(sys, stream, _Text(stream, file))
