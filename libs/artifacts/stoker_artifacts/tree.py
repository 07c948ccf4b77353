"""The rules: which entries an archive may hold, one after the other."""

from dataclasses import replace

from stoker_artifacts.contents import Entry, Kind
from stoker_artifacts.errors import Reason, UnsafeArchive, shown
from stoker_artifacts.limits import Limits
from stoker_artifacts.paths import check_symlink, parts_of

_DIRECTORIES = (None, Kind.DIRECTORY)


class Tree:
    """The tree that the entries seen so far make.

    Since no path may lead through a link, each path means in the file system what it says.
    """

    def __init__(self, packed_size_bytes: int, limits: Limits) -> None:
        """Begins with nothing but the root.

        Args:
            packed_size_bytes: The size of the archive itself.
            limits: What it may hold.
        """
        self._limits = limits
        self._packed_size_bytes = packed_size_bytes
        # A directory that is only part of other paths is None: an entry for it may still come.
        self._kinds: dict[str, Kind | None] = {"": None}
        self._paths_bytes = 0
        self.unpacked_size_bytes = 0
        """The sizes of all files so far."""
        self.file_count = 0
        """How many files and links there are so far."""

    def add(self, entry: Entry) -> Entry:
        """Adds an entry, before its data are read, and returns it with plain paths for names and hard links.

        Raises:
            UnsafeArchive: It breaks a rule.
        """
        parts = parts_of(entry.name, self._limits)
        path = "/".join(parts)
        if entry.kind is not Kind.DIRECTORY and entry.name.endswith("/"):
            raise UnsafeArchive(
                Reason.BAD_NAME, f"{shown(entry.name)}: a {entry.kind.value} is named as a directory is"
            )
        if not parts and entry.kind is not Kind.DIRECTORY:
            raise UnsafeArchive(Reason.BAD_NAME, f"{shown(entry.name)}: a {entry.kind.value} has no name")
        self._add_parents(path)
        self._add_path(path, entry.kind)
        self._add_size(entry, path)
        match entry.kind:
            case Kind.SYMLINK:
                check_symlink(parts, entry.target, self._limits)
            case Kind.HARD_LINK:
                return replace(entry, name=path, target=self._earlier_file(path, entry.target))
            case _:
                pass
        return replace(entry, name=path)

    def _add_parents(self, path: str) -> None:
        # Where a directory is known, so are those above it, up to the root.
        missing: list[str] = []
        parent = path.rpartition("/")[0]
        while parent not in self._kinds:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        if self._kinds[parent] not in _DIRECTORIES:
            raise _conflict(parent)
        for directory in missing:
            self._remember(directory, None)

    def _add_path(self, path: str, kind: Kind) -> None:
        if path not in self._kinds:
            self._remember(path, kind)
            return
        before = self._kinds[path]
        if before is None and kind is Kind.DIRECTORY:
            self._kinds[path] = kind
        elif (before in _DIRECTORIES) != (kind in _DIRECTORIES):
            raise _conflict(path)
        else:
            raise UnsafeArchive(Reason.DUPLICATE, f"{shown(path or '.')}: the archive holds it twice")

    def _remember(self, path: str, kind: Kind | None) -> None:
        self._kinds[path] = kind
        self._paths_bytes += len(path.encode())
        # The root is always there and does not count.
        if len(self._kinds) - 1 > self._limits.entries:
            raise too_many_entries(self._limits)
        if self._paths_bytes > self._limits.all_paths_bytes:
            raise paths_too_long(self._limits)

    def _add_size(self, entry: Entry, path: str) -> None:
        if entry.kind is not Kind.DIRECTORY:
            self.file_count += 1
        self.unpacked_size_bytes += entry.size_bytes
        if self.unpacked_size_bytes > self._limits.unpacked_bytes:
            raise too_large(self._limits)
        check_ratio(self.unpacked_size_bytes, self._packed_size_bytes, path, self._limits)

    def _earlier_file(self, path: str, target: str) -> str:
        found = "/".join(parts_of(target, self._limits))
        if found == path or self._kinds.get(found) not in (Kind.FILE, Kind.HARD_LINK):
            raise UnsafeArchive(
                Reason.LINK,
                f"{shown(path)}: the hard link leads to {shown(target)}, which is no earlier file of the archive",
            )
        return found


def _conflict(path: str) -> UnsafeArchive:
    return UnsafeArchive(Reason.CONFLICT, f"{shown(path)}: the archive holds it both as a file and as a directory")


def check_ratio(unpacked_bytes: int, packed_bytes: int, path: str, limits: Limits) -> None:
    """Returns if an archive is not much larger unpacked, with the file at `path`, than packed.

    Raises:
        UnsafeArchive: It is.
    """
    if unpacked_bytes > max(limits.ratio_free_bytes, limits.ratio * packed_bytes):
        raise UnsafeArchive(
            Reason.RATIO,
            f"{shown(path)}: with it the archive is more than {limits.ratio} times larger unpacked than packed; leave "
            "out files that hold nothing",
        )


def paths_too_long(limits: Limits) -> UnsafeArchive:
    """The refusal of an archive whose paths alone fill the memory."""
    return UnsafeArchive(
        Reason.BAD_NAME,
        f"the paths in the archive are longer than {limits.all_paths_bytes} bytes together; shorten them",
    )


def too_many_entries(limits: Limits) -> UnsafeArchive:
    """The refusal of an archive that holds too many files."""
    return UnsafeArchive(
        Reason.TOO_MANY_ENTRIES, f"the archive holds more than {limits.entries} files and directories; leave some out"
    )


def too_large(limits: Limits) -> UnsafeArchive:
    """The refusal of an archive that is too large."""
    return UnsafeArchive(
        Reason.TOO_LARGE, f"the archive is larger than {limits.unpacked_bytes} bytes unpacked; leave files out"
    )
