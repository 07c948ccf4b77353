"""Names in archives, as paths below the directory that an archive is unpacked to."""

from stoker_artifacts.errors import Reason, UnsafeArchive, shown
from stoker_artifacts.limits import Limits


def decode(name: bytes) -> str:
    """A name as text.

    Raises:
        UnsafeArchive: It is not UTF-8.
    """
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsafeArchive(Reason.BAD_NAME, f"{shown(name)}: the name is not UTF-8; rename it") from error


def parts_of(name: str, limits: Limits, *, is_kept: bool = True) -> tuple[str, ...]:
    """The parts of a path, without `.` and empty ones; none for the root.

    Args:
        name: The path.
        limits: How long it may be.
        is_kept: Whether a file of that name is to be made, which is then not to have odd characters.

    Raises:
        UnsafeArchive: The path leaves the tree, or a file could not or should not be named so.
    """
    _check_length(name, name, limits)
    if is_kept:
        _check_characters(name, name)
    if name.startswith("/"):
        raise UnsafeArchive(Reason.OUTSIDE, f"{shown(name)}: the path is absolute; pack with relative paths")
    parts = _split(name)
    if ".." in parts:
        raise UnsafeArchive(Reason.OUTSIDE, f"{shown(name)}: the path has `..`; pack the directory from inside")
    for part in parts:
        if len(part.encode()) > limits.name_bytes:
            raise UnsafeArchive(
                Reason.BAD_NAME, f"{shown(name)}: a part of the path is longer than {limits.name_bytes} bytes"
            )
    return parts


def check_symlink(path: tuple[str, ...], target: str, limits: Limits) -> None:
    """Returns if a symbolic link at `path` stays in the tree whatever else the archive holds.

    `..` may stand only at the target's beginning. There it climbs from the link's own directory, which is no link, so
    counting is enough; after a name it could climb from wherever a link of that name leads.

    Raises:
        UnsafeArchive: It does not.
    """
    name = "/".join(path)
    _check_length(target, name, limits)
    _check_characters(target, name)
    if not target:
        raise UnsafeArchive(Reason.LINK, f"{shown(name)}: the symbolic link has no target")
    if target.startswith("/"):
        raise UnsafeArchive(
            Reason.LINK,
            f"{shown(name)}: the symbolic link leads to the absolute path {shown(target)}; make it relative",
        )
    parts = _split(target)
    climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    if climbs > len(path) - 1:
        raise UnsafeArchive(Reason.LINK, f"{shown(name)}: the symbolic link leads out of the tree, to {shown(target)}")
    if ".." in parts[climbs:]:
        raise UnsafeArchive(
            Reason.LINK,
            f"{shown(name)}: the symbolic link's target {shown(target)} has `..` after a name; it is allowed only at "
            "the beginning",
        )


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _check_length(text: str, name: str, limits: Limits) -> None:
    if len(text.encode()) > limits.path_bytes:
        raise UnsafeArchive(Reason.BAD_NAME, f"{shown(name)}: the path is longer than {limits.path_bytes} bytes")


def _check_characters(text: str, name: str) -> None:
    if "\\" in text:
        raise UnsafeArchive(Reason.BAD_NAME, f"{shown(name)}: the path has a backslash; pack with `/` between names")
    if any(character < " " or character == "\x7f" for character in text):
        raise UnsafeArchive(Reason.BAD_NAME, f"{shown(name)}: the path has a control character; rename it")
