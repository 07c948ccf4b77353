"""Tar archives, gzipped or inside an image, read strictly.

Single headers are parsed by the standard library's `tarfile`; the rest of it keeps all entries, and extended headers of
any size, in memory. Understood are POSIX (ustar and pax) and GNU archives.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stoker_artifacts.contents import Entry, Kind, Member
from stoker_artifacts.errors import Reason, UnsafeArchive, corrupt, shown, unsupported
from stoker_artifacts.limits import Limits
from stoker_artifacts.paths import decode
from stoker_artifacts.tree import too_large

MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 256 * 1024

_BLOCK = tarfile.BLOCKSIZE
_LONGEST_EXTENDED_HEADER = 64 * 1024
_LONGEST_RECORD = 1024 * 1024
"""How much padding may follow the last entry, in bytes; `tar` pads to 10,240."""
_MOST_EXTENDED_HEADERS = 4
"""How many may stand before one entry: a long name, a long target and a pax header make three."""
_OVERHEAD_PER_ENTRY = 4096
"""What headers and padding may take besides the files' own data, in bytes an entry."""


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the entry that follows them."""

    count: int = 0
    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None


class Readable(Protocol):
    """Where the bytes of a tar come from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, `size` of them unless the end is nearer."""
        ...


class TarStream:
    """A tar, already decompressed, as a stream of bounded length."""

    def __init__(self, file: Readable, limits: Limits, before: int = 0) -> None:
        """Begins at the file's beginning, where `before` bytes of what it belongs to have been read already."""
        self._file = file
        self._limits = limits
        self._longest = limits.unpacked_bytes + limits.entries * _OVERHEAD_PER_ENTRY - before
        self.position = 0
        """How many bytes have been read."""

    def read(self, size: int) -> bytes:
        """The next bytes, `size` of them unless the end is nearer."""
        try:
            read = self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise corrupt("it cannot be decompressed") from error
        self.position += len(read)
        if self.position > self._longest:
            raise too_large(self._limits)
        return read

    def read_all(self, size: int) -> bytes:
        """The next `size` bytes."""
        read = self.read(size)
        if len(read) != size:
            raise corrupt("it ends too early")
        return read

    def data(self, size: int) -> Iterator[bytes]:
        """The data of an entry, and after them past the padding."""
        padding = -size % _BLOCK
        while size:
            chunk = self.read_all(min(size, CHUNK_BYTES))
            size -= len(chunk)
            yield chunk
        self.read_all(padding)


def read_tar_gz(path: Path, limits: Limits) -> Iterator[Member]:
    """Yields the entries of a gzipped tar, in its order.

    Raises:
        UnsafeArchive: It is damaged, or made in a way that is not supported.
        OSError: It cannot be read.
    """
    with gzip.open(path, "rb") as file:
        yield from read_tar(TarStream(file, limits))


def read_tar(stream: TarStream) -> Iterator[Member]:
    """Yields the entries of a tar, in its order, and reads it to its end.

    Raises:
        UnsafeArchive: It is damaged, or made in a way that is not supported.
        OSError: It cannot be read.
    """
    extended = _Extended()
    while any(block := stream.read_all(_BLOCK)):
        header = _parse(block)
        if header.type in _EXTENDED_TYPES:
            _read_extended(header, stream, extended)
        else:
            yield _member(header, extended, stream)
            extended = _Extended()
    if extended.count:
        raise corrupt("it ends where an entry should follow")
    # Zeros follow up to the end of a record. Reading them also makes gzip check its own checksum.
    padding = stream.read(_LONGEST_RECORD)
    if padding.strip(b"\0") or stream.read(1):
        raise corrupt("there are data after its end")


def _parse(block: bytes) -> tarfile.TarInfo:
    try:
        # Any byte has a character in Latin-1, and the same byte again: `decode` tells what is no UTF-8.
        header = tarfile.TarInfo.frombuf(block, "latin-1", "strict")
    except tarfile.HeaderError as error:
        raise corrupt("a header in it is none") from error
    if header.size < 0:
        raise corrupt("an entry has a negative size")
    return header


_EXTENDED_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def _read_extended(header: tarfile.TarInfo, stream: TarStream, extended: _Extended) -> None:
    if header.size > _LONGEST_EXTENDED_HEADER:
        raise unsupported(f"an extended header is longer than {_LONGEST_EXTENDED_HEADER} bytes")
    extended.count += 1
    if extended.count > _MOST_EXTENDED_HEADERS:
        raise unsupported(f"an entry has more than {_MOST_EXTENDED_HEADERS} extended headers")
    data = b"".join(stream.data(header.size))
    match header.type:
        case tarfile.GNUTYPE_LONGNAME:
            extended.name = data.rstrip(b"\0")
        case tarfile.GNUTYPE_LONGLINK:
            extended.target = data.rstrip(b"\0")
        case _:
            is_global = header.type == tarfile.XGLTYPE
            for key, value in _pax_records(data):
                _apply(key, value, extended, is_global=is_global)


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Records are `<length of the record> <key>=<value>` with a newline at the end."""
    while data:
        digits, _, _ = data.partition(b" ")
        if not (digits.isdigit() and len(digits) <= len(str(_LONGEST_EXTENDED_HEADER))):
            raise corrupt("a pax header in it is none")
        record, data = data[: int(digits)], data[int(digits) :]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not equals or not value.endswith(b"\n") or len(record) != int(digits):
            raise corrupt("a pax header in it is none")
        yield key, value[:-1]


def _apply(key: bytes, value: bytes, extended: _Extended, *, is_global: bool) -> None:
    if key.startswith(b"GNU.sparse."):
        raise unsupported("the archive holds a sparse file")
    if key not in (b"path", b"linkpath", b"size"):
        return
    if is_global:
        raise unsupported("the archive gives all its files the same name or size")
    match key:
        case b"path":
            extended.name = value
        case b"linkpath":
            extended.target = value
        case _:
            if not (value.isdigit() and len(value) <= 19):
                raise corrupt("a pax header gives a size that is none")
            extended.size = int(value)


def _member(header: tarfile.TarInfo, extended: _Extended, stream: TarStream) -> Member:
    name = decode(header.name.encode("latin-1") if extended.name is None else extended.name)
    target = decode(header.linkname.encode("latin-1") if extended.target is None else extended.target)
    size = header.size if extended.size is None else extended.size
    match header.type:
        case tarfile.REGTYPE | tarfile.AREGTYPE:
            entry = Entry(name, Kind.FILE, size, is_executable=bool(header.mode & 0o111))
            return Member(entry, stream.data(size))
        case tarfile.DIRTYPE:
            entry = Entry(name, Kind.DIRECTORY)
        case tarfile.SYMTYPE:
            entry = Entry(name, Kind.SYMLINK, target=target)
        case tarfile.LNKTYPE:
            entry = Entry(name, Kind.HARD_LINK, target=target)
        case tarfile.CHRTYPE | tarfile.BLKTYPE | tarfile.FIFOTYPE:
            raise UnsafeArchive(Reason.SPECIAL_FILE, f"{shown(name)}: it is a device or a pipe; leave it out")
        case _:
            raise unsupported(f"{shown(name)}: the entry is of type {shown(header.type)}")
    if size:
        raise corrupt(f"{shown(name)} is a {entry.kind.value}, and has data")
    return Member(entry, iter(()))
