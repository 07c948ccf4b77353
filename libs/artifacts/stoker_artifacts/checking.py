"""Whether a tree on the disk is still what its manifest says.

`check` reads everything. `fingerprint` reads nothing but what the file system says of each file; it tells whether
anything was changed through the file system since another `fingerprint`: sizes, times of change, inodes, modes. The
time of an inode's change is set by the kernel and by nothing else short of setting the clock, so a file that was
written to, or replaced, or had its times set back, is noticed. What it cannot see is what happens below the file
system: a disk that gives other bytes than were written, or someone who writes to the block device.
"""

import hashlib
import os
import stat
from pathlib import Path

from stoker_artifacts.chunks import chunk_of
from stoker_artifacts.contents import Kind
from stoker_artifacts.errors import UnsafeArchive
from stoker_artifacts.manifests import Manifest
from stoker_artifacts.scanning import Contents, entries_of
from stoker_artifacts.unpacking import DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE


class ChangedTree(Exception):
    """A tree is not what its manifest says."""


def check(manifest: Manifest, directory: Path) -> None:
    """Returns if a tree is what its manifest says, to the last byte and mode. It blocks.

    Raises:
        ChangedTree: It is not, or it cannot be read.
    """
    try:
        if entries_of(directory) != manifest.entries:
            raise ChangedTree(f"{directory}: there are other files, links or sizes than in its manifest")
        for entry in manifest.entries:
            mode = stat.S_IMODE((directory / entry.name).lstat().st_mode)
            if entry.kind is Kind.DIRECTORY and mode != DIRECTORY_MODE:
                raise ChangedTree(f"{directory}: the mode of {entry.name} is {mode:o}")
            if entry.kind is Kind.FILE and mode != (EXECUTABLE_MODE if entry.is_executable else FILE_MODE):
                raise ChangedTree(f"{directory}: the mode of {entry.name} is {mode:o}")
        with Contents(directory, manifest.entries) as contents:
            for chunk in manifest.chunks:
                data = memoryview(bytearray(chunk.size_bytes))
                filled_bytes = 0
                while filled_bytes < chunk.size_bytes:
                    filled_bytes += contents.readinto(data[filled_bytes:])
                if chunk_of(data) != chunk:
                    raise ChangedTree(f"{directory}: the content of a file has changed")
    except UnsafeArchive as error:
        raise ChangedTree(f"{directory}: {error.message}") from error
    except OSError as error:
        raise ChangedTree(f"{directory}: it cannot be read: {error}") from error


def fingerprint(directory: Path) -> str:
    """What the file system says of all that is below a directory, in short.

    It blocks, for 30 ms with a thousand files on a busy machine.

    Raises:
        OSError: The directory cannot be read.
    """
    found = hashlib.sha256()
    for parent, directories, files, descriptor in os.fwalk(directory):
        directories.sort()
        below = os.path.relpath(parent, directory)
        for name in sorted((*directories, *files)):
            status = os.lstat(name, dir_fd=descriptor)
            told = (
                status.st_ino,
                status.st_mode,
                status.st_uid,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
            found.update(f"{below}/{name} {told}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()
