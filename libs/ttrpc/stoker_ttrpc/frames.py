"""ttrpc frames as bytes, without I/O.

A frame is containerd's: a header of 10 bytes (length of the payload, stream id, type, flags; big-endian), then the
payload. Two things are Stoker's own, because a virtio-serial port has no connections:

- A *preamble*, `STKRSYN1` and 16 random bytes, begins a connection. It can't be mistaken for a frame: read as a header
  its length is far over the limit.
- A data frame with the flags "remote closed" and "no data", sent by the client, cancels the call of its stream.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TypeAlias

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
MAGIC = b"STKRSYN1"
PREAMBLE_BYTES = len(MAGIC) + 16

_HEADER = struct.Struct(">IIBB")
HEADER_BYTES = _HEADER.size


class FrameType(IntEnum):
    """What a frame is."""

    REQUEST = 1
    RESPONSE = 2
    DATA = 3


class Flags(IntFlag):
    """What more there is to a frame."""

    NONE = 0
    REMOTE_CLOSED = 1
    REMOTE_OPEN = 2
    NO_DATA = 4


END_OF_STREAM = Flags.REMOTE_CLOSED | Flags.NO_DATA
"""The flags of the data frame that ends a stream; from the client it cancels."""


# Enumerations are slow to make of their numbers.
_TYPES = {each.value: each for each in FrameType}
_FLAGS = {bits: Flags(bits) for bits in range(8)}


@dataclass(slots=True)
class Frame:
    """One frame. It is not frozen, since a frozen one takes three times as long to make."""

    stream_id: int
    type: FrameType
    flags: Flags = Flags.NONE
    payload: bytes = b""

    def header(self) -> bytes:
        """The 10 bytes that go before the payload."""
        return _HEADER.pack(len(self.payload), self.stream_id, self.type, self.flags)

    def to_bytes(self) -> bytes:
        """The whole frame as it goes over the wire."""
        return self.header() + self.payload


@dataclass(frozen=True, slots=True)
class Preamble:
    """The peer begins the connection anew."""

    token: bytes
    """All 24 bytes."""


@dataclass(frozen=True, slots=True)
class Desynchronized:
    """The bytes make no sense; all are thrown away until the next preamble."""

    reason: str


Event: TypeAlias = Frame | Preamble | Desynchronized


class Decoder:
    """Finds frames and preambles in a stream of bytes that may begin, break and go on anywhere.

    It begins *seeking*: it throws bytes away until a preamble. Then it reads frames, until a header is malformed; then
    it seeks again. It holds no more than one frame and what was fed last.
    """

    def __init__(self, wanted: bytes = MAGIC) -> None:
        """Makes a decoder.

        Args:
            wanted: How the preamble that it seeks begins: `MAGIC` for any, or all 24 bytes for one.
        """
        self._wanted = wanted
        self._buffer = bytearray()
        self._is_seeking = True

    @property
    def is_seeking(self) -> bool:
        """Whether bytes are thrown away until a preamble."""
        return self._is_seeking

    @property
    def is_midway(self) -> bool:
        """Whether a frame or preamble has begun and not ended."""
        return bool(self._buffer) and not self._is_seeking

    def seek(self) -> None:
        """Gives up what is under way, and seeks a preamble."""
        self._is_seeking = True

    def feed(self, data: bytes) -> Iterator[Event]:
        """Takes bytes, and yields what is complete with them. The iterator must be exhausted before the next call."""
        if not self._buffer and not self._is_seeking and (frame := _only_frame(data)) is not None:
            yield frame
            return
        self._buffer += data
        while True:
            event = self._seek() if self._is_seeking else self._read()
            if event is None:
                return
            yield event

    def _seek(self) -> Preamble | None:
        at = self._buffer.find(self._wanted)
        if at < 0:
            # The magic may have begun at the very end.
            del self._buffer[: max(0, len(self._buffer) - len(self._wanted) + 1)]
            return None
        del self._buffer[:at]
        if len(self._buffer) < PREAMBLE_BYTES:
            return None
        self._is_seeking = False
        return Preamble(self._take(PREAMBLE_BYTES))

    def _read(self) -> Event | None:
        if len(self._buffer) < HEADER_BYTES:
            return None
        if self._buffer.startswith(MAGIC):
            return Preamble(self._take(PREAMBLE_BYTES)) if len(self._buffer) >= PREAMBLE_BYTES else None
        length, stream_id, type_number, flag_bits = _HEADER.unpack_from(self._buffer)
        if reason := _fault(length, stream_id, type_number, flag_bits):
            self._is_seeking = True
            return Desynchronized(reason)
        if len(self._buffer) < HEADER_BYTES + length:
            return None
        del self._buffer[:HEADER_BYTES]
        return Frame(stream_id, _TYPES[type_number], _FLAGS[flag_bits], self._take(length))

    def _take(self, count: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[:count])
        del self._buffer[:count]
        return taken


def _only_frame(data: bytes) -> Frame | None:
    """The frame that the bytes are, as is usual; None where they are less, more or something else."""
    if len(data) < HEADER_BYTES:
        return None
    length, stream_id, type_number, flag_bits = _HEADER.unpack_from(data)
    if length != len(data) - HEADER_BYTES or _fault(length, stream_id, type_number, flag_bits):
        return None
    return Frame(stream_id, _TYPES[type_number], _FLAGS[flag_bits], data[HEADER_BYTES:])


def _fault(length: int, stream_id: int, type_number: int, flag_bits: int) -> str:
    """What is wrong with a header; empty where nothing is."""
    if length > MAX_PAYLOAD_BYTES:
        return f"a frame of {length} bytes; at most {MAX_PAYLOAD_BYTES} are allowed"
    if type_number not in (1, 2, 3):
        return f"a frame of type {type_number}; 1, 2 and 3 are known"
    if flag_bits > 7:
        return f"a frame with flags {flag_bits:#x}; 1, 2 and 4 are known"
    if stream_id % 2 == 0:
        return f"a frame of stream {stream_id}; streams have odd numbers"
    return ""
