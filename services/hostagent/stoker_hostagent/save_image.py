"""The header of the file that libvirt saves a domain in. Pure: bytes in, bytes out.

The file begins with 92 bytes: a magic, the format's version, the length of the room for texts that follows, whether the
domain ran, how the memory is compressed, and where in the room the cookie begins. In the room are the domain's XML and
the cookie (what libvirt keeps for itself), each ended by a zero byte, then zeros: libvirt leaves 64 KiB for XML that is
longer. After the room comes QEMU's migration stream. Numbers have the host's own byte order.
"""

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

MAGIC = b"LibvirtQemudSave"
UNFINISHED_MAGIC = b"LibvirtQemudPart"
VERSION = 2
RAW = 0
"""The compression that is none."""
MAX_ROOM_BYTES = 16 * 1024 * 1024
_FIXED = struct.Struct("=16s5I56x")


class SaveImageInvalid(Exception):
    """Not a file that libvirt has saved a domain in."""


class DoesNotFit(Exception):
    """The texts are longer than the room for them."""


@dataclass(frozen=True, slots=True)
class SaveHeader:
    """What libvirt knows of a saved domain."""

    xml: str
    """The domain."""
    cookie: str
    """What libvirt keeps for itself; empty for none."""
    room_bytes: int
    """How long XML, cookie and their ends may be together."""
    was_running: bool
    compression: int

    @property
    def stream_offset(self) -> int:
        """Where in the file QEMU's migration stream begins."""
        return _FIXED.size + self.room_bytes

    def with_xml(self, xml: str) -> "SaveHeader":
        """The header of the same memory as another domain.

        Raises:
            DoesNotFit: The XML is too long.
        """
        changed = replace(self, xml=xml)
        changed.to_bytes()
        return changed

    def to_bytes(self) -> bytes:
        """The header as it stands in a file, with the room filled up.

        Raises:
            DoesNotFit: The texts are too long.
        """
        xml = _ended(self.xml)
        cookie = _ended(self.cookie) if self.cookie else b""
        if len(xml) + len(cookie) > self.room_bytes:
            raise DoesNotFit(f"{len(xml) + len(cookie)} bytes of XML and cookie; there is room for {self.room_bytes}")
        fixed = _FIXED.pack(
            MAGIC, VERSION, self.room_bytes, self.was_running, self.compression, len(xml) if cookie else 0
        )
        return fixed + (xml + cookie).ljust(self.room_bytes, b"\0")


def read_header(file: BinaryIO) -> SaveHeader:
    """Reads a header; the file's position is at the migration stream then.

    Raises:
        SaveImageInvalid: There is none.
    """
    fixed = file.read(_FIXED.size)
    if len(fixed) < _FIXED.size:
        raise SaveImageInvalid("the file ends within the header")
    magic, version, room_bytes, was_running, compression, cookie_offset = _FIXED.unpack(fixed)
    if magic == UNFINISHED_MAGIC:
        raise SaveImageInvalid("libvirt did not finish the file")
    if magic != MAGIC or version != VERSION:
        raise SaveImageInvalid(f"the file begins with {magic!r} of version {version}; known is {MAGIC!r} of {VERSION}")
    if room_bytes > MAX_ROOM_BYTES or cookie_offset > room_bytes:
        raise SaveImageInvalid(f"a room of {room_bytes} bytes, with the cookie at {cookie_offset}")
    room = file.read(room_bytes)
    if len(room) < room_bytes:
        raise SaveImageInvalid("the file ends within the header's texts")
    xml_end = cookie_offset or room_bytes
    return SaveHeader(_text(room[:xml_end]), _text(room[xml_end:]), room_bytes, bool(was_running), compression)


def _ended(text: str) -> bytes:
    return text.encode() + b"\0"


def _text(field: bytes) -> str:
    try:
        return field.partition(b"\0")[0].decode()
    except UnicodeDecodeError as error:
        raise SaveImageInvalid(f"a text is not UTF-8: {error}") from error
