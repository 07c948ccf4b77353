"""Writing down what is in an archive."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stoker_artifacts.archive import read
from stoker_artifacts.contents import Contents, Entry, Kind
from stoker_artifacts.limits import DEFAULT_LIMITS, Limits

MTIME_S = 315_532_800
"""When all unpacked files were last changed: 1980-01-01, the earliest time that a zip can tell."""
DIRECTORY_MODE = 0o755
FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755
SYNCS_AT_ONCE = 8
"""Files that are synced together share a commit of the journal: 3,000 took 0.9 s one by one and 0.3 s so, on ext4."""


def unpack(path: Path, directory: Path, limits: Limits = DEFAULT_LIMITS, *, is_to_last: bool = True) -> Contents:
    """Unpacks an archive into `directory`, which it makes.

    All that is there when it returns is on disk to stay, and depends on the archive alone: modes are 0755 for
    directories and executable files and 0644 for others, times are 1980-01-01, the owner is who calls. When it fails,
    `directory` is gone again; a crash can leave it behind incomplete. So the caller unpacks under a temporary name and
    renames. It blocks. What is not to last is not brought to the disk: it is read once and thrown away.

    Raises:
        UnsafeArchive: The archive breaks a rule.
        FileExistsError: `directory` is already there; it stays as it is.
        OSError: The archive cannot be read, or the directory not be written.
    """
    directory.mkdir()
    try:
        contents = read(path, limits, Writer(directory).write)
        if is_to_last:
            settle(directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return contents


class Writer:
    """Makes what entries describe, below a root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, entry: Entry, data: Iterator[bytes | memoryview]) -> None:
        """Makes one entry. Its path leads through no link, which the rules see to."""
        path = self._root / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        match entry.kind:
            case Kind.DIRECTORY:
                path.mkdir(exist_ok=True)
                for _ in data:
                    pass
            case Kind.FILE:
                _write_file(path, EXECUTABLE_MODE if entry.is_executable else FILE_MODE, data)
            case Kind.SYMLINK:
                path.symlink_to(entry.target)
                os.utime(path, (MTIME_S, MTIME_S), follow_symlinks=False)
            case Kind.HARD_LINK:
                path.hardlink_to(self._root / entry.target)


def _write_file(path: Path, mode: int, data: Iterator[bytes | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - a Path cannot open a descriptor
        for chunk in data:
            # A write to a file may take only a part, where the disk is full or a signal comes.
            left = memoryview(chunk)
            while left:
                left = left[file.write(left) :]
        os.fchmod(descriptor, mode)
        os.utime(descriptor, (MTIME_S, MTIME_S))


def settle(directory: Path) -> None:
    """Gives directories their mode and time, and brings everything to the disk."""
    directories: list[Path] = []
    with ThreadPoolExecutor(SYNCS_AT_ONCE, "sync") as threads:
        for parent, _, files in os.walk(directory):
            directories.append(Path(parent))
            paths = [Path(parent, name) for name in files]
            for _ in threads.map(_sync, [path for path in paths if not path.is_symlink()]):
                pass
    for path in directories:
        path.chmod(DIRECTORY_MODE)
        os.utime(path, (MTIME_S, MTIME_S))
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
