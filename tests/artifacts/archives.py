"""Archives of both formats, good and bad, made of the same description."""

import gzip
import io
import stat
import tarfile
import time
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Type(Enum):
    """What an item is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    FIFO = "fifo"
    DEVICE = "device"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of an archive."""

    name: str
    data: bytes = b""
    type: Type = Type.FILE
    target: str = ""
    mode: int = 0o644


def directory(name: str, mode: int = 0o755) -> Item:
    return Item(name, type=Type.DIRECTORY, mode=mode)


def symlink(name: str, target: str) -> Item:
    return Item(name, type=Type.SYMLINK, target=target, mode=0o777)


def hard_link(name: str, target: str) -> Item:
    return Item(name, type=Type.HARD_LINK, target=target)


_TAR_TYPES = {
    Type.FILE: tarfile.REGTYPE,
    Type.DIRECTORY: tarfile.DIRTYPE,
    Type.SYMLINK: tarfile.SYMTYPE,
    Type.HARD_LINK: tarfile.LNKTYPE,
    Type.FIFO: tarfile.FIFOTYPE,
    Type.DEVICE: tarfile.CHRTYPE,
}
_ZIP_TYPES = {
    Type.FILE: stat.S_IFREG,
    Type.DIRECTORY: stat.S_IFDIR,
    Type.SYMLINK: stat.S_IFLNK,
    Type.FIFO: stat.S_IFIFO,
    Type.DEVICE: stat.S_IFCHR,
    Type.SOCKET: stat.S_IFSOCK,
}


def tar_bytes(items: Sequence[Item], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar, not gzipped."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type = _TAR_TYPES[item.type]
            info.mode = item.mode
            info.linkname = item.target
            info.size = len(item.data)
            info.mtime = int(time.time())
            archive.addfile(info, io.BytesIO(item.data))
    return buffer.getvalue()


def tar_gz_bytes(items: Sequence[Item]) -> bytes:
    return gzip.compress(tar_bytes(items), 6)


def zip_bytes(items: Sequence[Item], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip; a directory's name gets its `/`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names that come twice
        for item in items:
            name = item.name + "/" if item.type is Type.DIRECTORY and not item.name.endswith("/") else item.name
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (_ZIP_TYPES[item.type] | item.mode) << 16
            info.compress_type = method
            archive.writestr(info, item.target.encode() if item.type is Type.SYMLINK else item.data)
    return buffer.getvalue()


MAKERS = {"zip": zip_bytes, "tar.gz": tar_gz_bytes}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
