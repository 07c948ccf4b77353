"""Reading an archive by the rules, whatever its format."""

from collections.abc import Callable, Iterator
from pathlib import Path

from stoker_artifacts import images, tars, zips
from stoker_artifacts.contents import Contents, Entry, Format, Member
from stoker_artifacts.errors import Reason, UnsafeArchive
from stoker_artifacts.limits import DEFAULT_LIMITS, Limits
from stoker_artifacts.tree import Tree


def inspect(path: Path, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """Reads an archive through, and says what is in it.

    It blocks, for up to some seconds with the largest archives.

    Raises:
        UnsafeArchive: The archive breaks a rule.
        OSError: It cannot be read.
    """
    return read(path, limits, _skip)


def read(path: Path, limits: Limits, take: Callable[[Entry, Iterator[bytes]], None]) -> Contents:
    """Gives each entry, once it is known to be allowed, to `take`, which reads its data to the end.

    Raises:
        UnsafeArchive: The archive breaks a rule; entries before the one that does have been given.
        OSError: It cannot be read.
    """
    packed_format = _format_of(path)
    tree = Tree(path.stat().st_size, limits)
    for member in _members(path, packed_format, limits):
        take(tree.add(member.entry), member.data)
    if not tree.file_count:
        raise UnsafeArchive(Reason.EMPTY, "the archive holds no file; pack the function's code")
    return Contents(packed_format, tree.unpacked_size_bytes, tree.file_count)


def _format_of(path: Path) -> Format:
    with path.open("rb") as file:
        begin = file.read(images.MAGIC_OFFSET + len(images.MAGIC))
    if begin.startswith(zips.MAGICS):
        return Format.ZIP
    if begin.startswith(tars.MAGIC):
        return Format.TAR_GZ
    if begin.endswith(images.MAGIC):
        return Format.OCI_IMAGE
    raise UnsafeArchive(
        Reason.UNKNOWN_FORMAT,
        "the file is neither a zip nor a tar.gz, nor a saved image; pack the code as one of them",
    )


def _members(path: Path, packed_format: Format, limits: Limits) -> Iterator[Member]:
    match packed_format:
        case Format.ZIP:
            return zips.read_zip(path, limits)
        case Format.TAR_GZ:
            return tars.read_tar_gz(path, limits)
        case Format.OCI_IMAGE:
            return images.read_image(path, limits)


def _skip(_entry: Entry, data: Iterator[bytes]) -> None:
    for _ in data:
        pass
