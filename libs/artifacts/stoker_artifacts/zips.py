"""Zip archives, read strictly.

The standard library's `zipfile` reads the whole directory into memory before anything can be checked, and goes on where
an archive contradicts itself. Here the directory is read entry by entry, and what the two descriptions of a file say
must be the same. The layout is that of APPNOTE.TXT 6.3.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stoker_artifacts.contents import Entry, Kind, Member
from stoker_artifacts.errors import Reason, UnsafeArchive, corrupt, shown, unsupported
from stoker_artifacts.limits import Limits
from stoker_artifacts.paths import decode
from stoker_artifacts.tree import too_many_entries

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
CHUNK_BYTES = 256 * 1024

_END = struct.Struct("<4s4H2LH")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF
_IN_EXTRA_32 = 0xFFFFFFFF
_ZIP64_EXTRA = 0x0001
_STORED, _DEFLATED, _AES = 0, 8, 99
_ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the directory of an archive is."""

    offset: int
    size_bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Header:
    """What the directory says of one entry."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    unpacked_bytes: int
    mode: int
    offset: int


def read_zip(path: Path, limits: Limits) -> Iterator[Member]:
    """Yields the entries of a zip, in the order of its directory.

    Raises:
        UnsafeArchive: It is damaged, encrypted, or made in a way that is not supported.
        OSError: It cannot be read.
    """
    with path.open("rb") as headers, path.open("rb") as data:
        directory = _find_directory(headers)
        if directory.entries > limits.entries:
            raise too_many_entries(limits)
        for header in _read_headers(headers, directory):
            yield _member(header, data, directory.offset, limits)


def _find_directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, os.SEEK_END)
    tail_offset = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_offset)
    tail = file.read()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise corrupt("it has no end record")
    _, disk, first_disk, entries_here, entries, size_bytes, offset, comment = _END.unpack_from(tail, found)
    if found + _END.size + comment != len(tail):
        raise corrupt("its end record is not at its end")
    end = tail_offset + found
    locator = tail[found - _END_64_LOCATOR.size : found] if found >= _END_64_LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        _, _, end, _ = _END_64_LOCATOR.unpack(locator)
        record = _read_at(file, end, _END_64.size)
        signature, _, _, _, disk, first_disk, entries_here, entries, size_bytes, offset = _END_64.unpack(record)
        if signature != b"PK\x06\x06":
            raise corrupt("its end record is not where it says")
    if disk or first_disk or entries_here != entries:
        raise unsupported("the archive is split into several files")
    if offset + size_bytes != end:
        raise corrupt("its directory is not where it says")
    return _Directory(offset, size_bytes, entries)


def _read_headers(file: BinaryIO, directory: _Directory) -> Iterator[_Header]:
    file.seek(directory.offset)
    end = directory.offset + directory.size_bytes
    for _ in range(directory.entries):
        fields = _CENTRAL.unpack(_read(file, _CENTRAL.size))
        signature, _, _, flags, method, _, _, crc, packed, unpacked, name_length, extra_length, comment_length = fields[
            :13
        ]
        disk, _, attributes, offset = fields[13:]
        if signature != b"PK\x01\x02":
            raise corrupt("an entry of its directory is none")
        if disk:
            raise unsupported("the archive is split into several files")
        name = _read(file, name_length)
        extra = _read(file, extra_length)
        _read(file, comment_length)
        unpacked, packed, offset = _in_64_bits(extra, unpacked, packed, offset)
        yield _Header(name, flags, method, crc, packed, unpacked, attributes >> 16, offset)
    if file.tell() != end:
        raise corrupt("its directory holds another number of entries than it says")


def _in_64_bits(extra: bytes, *fields: int) -> Iterator[int]:
    """The fields that did not fit into 32 bits are in an extra field, in this order; the others are as they are."""
    wide = b""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == _ZIP64_EXTRA:
            wide = extra[position + 4 : position + 4 + length]
        position += 4 + length
    for field in fields:
        if field == _IN_EXTRA_32:
            if len(wide) < 8:
                raise corrupt("a size is missing in its directory")
            field = int.from_bytes(wide[:8], "little")
            wide = wide[8:]
        yield field


def _member(header: _Header, data: BinaryIO, end: int, limits: Limits) -> Member:
    name = decode(header.raw_name)
    if header.flags & _ENCRYPTED_FLAGS or header.method == _AES:
        raise UnsafeArchive(Reason.ENCRYPTED, f"{shown(name)}: the file is encrypted; pack it without a password")
    if header.method not in (_STORED, _DEFLATED):
        raise unsupported(f"{shown(name)}: the file is compressed by method {header.method}")
    match stat.S_IFMT(header.mode):
        case 0 | stat.S_IFREG if not name.endswith("/"):
            entry = Entry(name, Kind.FILE, header.unpacked_bytes, is_executable=bool(header.mode & 0o111))
            return Member(entry, _read_data(header, data, end))
        case 0 | stat.S_IFDIR if name.endswith("/"):
            if header.unpacked_bytes:
                raise corrupt(f"the directory {shown(name)} has data")
            return Member(Entry(name, Kind.DIRECTORY), _read_data(header, data, end))
        case stat.S_IFLNK:
            if header.unpacked_bytes > limits.path_bytes:
                raise UnsafeArchive(
                    Reason.BAD_NAME,
                    f"{shown(name)}: the symbolic link's target is longer than {limits.path_bytes} bytes",
                )
            target = decode(b"".join(_read_data(header, data, end)))
            return Member(Entry(name, Kind.SYMLINK, target=target), iter(()))
        case stat.S_IFREG | stat.S_IFDIR:
            raise corrupt(f"{shown(name)} is a directory by its name or by its mode, but not by both")
        case _:
            raise UnsafeArchive(Reason.SPECIAL_FILE, f"{shown(name)}: it is a device, a pipe or a socket; leave it out")


def _read_data(header: _Header, file: BinaryIO, end: int) -> Iterator[bytes]:
    """The data of an entry, unpacked. They lie before `end`, where the directory begins."""
    name = shown(header.raw_name)
    local = _read_at(file, header.offset, _LOCAL.size)
    signature, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(local)
    if signature != b"PK\x03\x04":
        raise corrupt(f"{name} is not where the directory says")
    if _read(file, name_length) != header.raw_name or method != header.method or (flags ^ header.flags) & 1:
        raise corrupt(f"{name} is another file than the directory says")
    _read(file, extra_length)
    if file.tell() + header.packed_bytes > end:
        raise corrupt(f"{name} is cut off")
    packed = _chunks(file, header.packed_bytes)
    crc = 0
    size = 0
    for chunk in packed if header.method == _STORED else _inflate(packed, name):
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
        if size > header.unpacked_bytes:
            break
        yield chunk
    if size != header.unpacked_bytes:
        raise corrupt(f"{name} is larger or smaller than the directory says")
    if crc != header.crc:
        raise corrupt(f"the checksum of {name} is wrong")


def _inflate(packed: Iterator[bytes], name: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not inflater.eof:
            given = inflater.unconsumed_tail or next(packed, b"")
            chunk = inflater.decompress(given, CHUNK_BYTES)
            if chunk:
                yield chunk
            elif not given and not inflater.eof:
                raise corrupt(f"{name} is cut off")
    except zlib.error as error:
        raise corrupt(f"{name} cannot be decompressed") from error
    if inflater.unused_data or next(packed, b""):
        raise corrupt(f"{name} has data after its end")


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    # Another entry may be read between two chunks of this one only after the last: members are read in turn.
    while size:
        chunk = _read(file, min(size, CHUNK_BYTES))
        size -= len(chunk)
        yield chunk


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    if offset > file.seek(0, os.SEEK_END):
        raise corrupt("it points behind its end")
    file.seek(offset)
    return _read(file, size)


def _read(file: BinaryIO, size: int) -> bytes:
    read = file.read(size)
    if len(read) != size:
        raise corrupt("it ends too early")
    return read
