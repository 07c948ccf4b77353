"""What is in an archive."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Format(Enum):
    """How an archive is packed."""

    ZIP = "zip"
    TAR_GZ = "tar.gz"
    OCI_IMAGE = "oci-image"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in an archive, altogether."""

    format: Format
    unpacked_size_bytes: int
    """The sizes of all files together."""
    file_count: int
    """How many files it holds; links count, directories do not."""


class Kind(Enum):
    """What an entry makes."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARD_LINK = "hard link"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, as the archive describes it."""

    name: str
    kind: Kind
    size_bytes: int = 0
    """How much data follows; 0 for all but files."""
    is_executable: bool = False
    target: str = ""
    """Where a link leads: for a symbolic one a path from its directory, for a hard one a path from the root."""


@dataclass(frozen=True, slots=True)
class Member:
    """An entry with its data, which is to be read to its end before the next entry is asked for."""

    entry: Entry
    data: Iterator[bytes]
    """Exactly `size_bytes` bytes, checked against the archive's checksum when the end is reached."""
