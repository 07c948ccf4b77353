"""Making a manifest of a tree, or of an archive by way of one."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from stoker_artifacts.chunks import Chunk, cut
from stoker_artifacts.contents import Entry, Kind
from stoker_artifacts.errors import Reason, UnsafeArchive, shown
from stoker_artifacts.limits import DEFAULT_LIMITS, Limits
from stoker_artifacts.manifests import Manifest
from stoker_artifacts.tree import Tree
from stoker_artifacts.unpacking import unpack

Take = Callable[[Chunk, memoryview], None]


def skip(_chunk: Chunk, _data: memoryview) -> None:
    """Takes a chunk of which only the digest is wanted."""


def manifest_of(path: Path, scratch: Path, take: Take = skip, limits: Limits = DEFAULT_LIMITS) -> Manifest:
    """The manifest of an archive, or of a directory, as it is unpacked.

    It blocks. Nothing is in memory whole but the paths.

    Args:
        path: The archive or the directory.
        scratch: Where an archive is unpacked meanwhile; it must not exist, and is gone afterwards.
        take: Is given each chunk, with bytes that are valid only during the call; one that comes twice comes twice.
        limits: What it may hold.

    Raises:
        UnsafeArchive: It breaks a rule.
        OSError: It cannot be read or unpacked, or a file changed while it was read.
    """
    if path.is_dir():
        return manifest_of_tree(path, take, limits)
    try:
        unpack(path, scratch, limits, is_to_last=False)
        return manifest_of_tree(scratch, take, limits)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def manifest_of_tree(directory: Path, take: Take = skip, limits: Limits = DEFAULT_LIMITS) -> Manifest:
    """The manifest of a directory. See `manifest_of`."""
    entries = entries_of(directory, limits)
    chunks: list[Chunk] = []
    with Contents(directory, entries) as contents:
        for chunk, data in cut(contents):
            chunks.append(chunk)
            take(chunk, data)
    return Manifest(entries, tuple(chunks))


def entries_of(directory: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[Entry, ...]:
    """What is below a directory, in a manifest's order.

    Raises:
        UnsafeArchive: It breaks a rule.
    """
    tree = Tree(limits.unpacked_bytes, limits)
    return tuple(map(tree.add, _walk(directory, "", {})))


def _walk(root: Path, below: str, seen: dict[tuple[int, int], str]) -> Iterator[Entry]:
    with os.scandir(root / below) as found:
        children = sorted(found, key=lambda child: os.fsencode(child.name))
    for child in children:
        path = f"{below}/{child.name}" if below else child.name
        status = child.stat(follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            yield Entry(path, Kind.DIRECTORY)
            yield from _walk(root, path, seen)
        elif kind == stat.S_IFLNK:
            yield Entry(path, Kind.SYMLINK, target=str(Path(child.path).readlink()))
        elif kind == stat.S_IFREG:
            first = seen.setdefault((status.st_dev, status.st_ino), path) if status.st_nlink > 1 else path
            if first == path:
                yield Entry(path, Kind.FILE, status.st_size, is_executable=bool(status.st_mode & stat.S_IXUSR))
            else:
                yield Entry(path, Kind.HARD_LINK, target=first)
        else:
            raise UnsafeArchive(Reason.SPECIAL_FILE, f"{shown(path)}: it is a device, a pipe or a socket; leave it out")


class Contents:
    """The contents of files, one after the other. A context manager; it has at most one file open."""

    def __init__(self, root: Path, entries: tuple[Entry, ...]) -> None:
        self._root = root
        self._left = (entry for entry in entries if entry.kind is Kind.FILE and entry.size_bytes)
        self._file: FileIO | None = None
        self._entry: Entry | None = None
        self._left_bytes = 0

    def __enter__(self) -> "Contents":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def readinto(self, b: memoryview) -> int:
        """Fills a part of the buffer and returns how much; 0 after the last file.

        Raises:
            OSError: A file cannot be read, or is not as large as its entry says.
        """
        if self._file is None:
            self._entry = next(self._left, None)
            if self._entry is None:
                return 0
            self._file = _open(self._root / self._entry.name)
            self._left_bytes = self._entry.size_bytes
            if os.fstat(self._file.fileno()).st_size != self._left_bytes:
                raise OSError(f"{self._entry.name} changed while it was read")
        read_bytes = self._file.readinto(b[: self._left_bytes])
        if not read_bytes:
            raise OSError(f"{self._entry.name if self._entry else ''} changed while it was read")
        self._left_bytes -= read_bytes
        if not self._left_bytes:
            self._close()
        return read_bytes

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _open(path: Path) -> FileIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - a Path cannot open a descriptor
