"""The layers of an image, stacked into one tree by the rules of OCI (image-spec, `layer.md`).

An entry stands in for what lower layers have at its path; a directory joins one that is there. `.wh.<name>` takes
`<name>` of lower layers away, and `.wh..wh..opq` all that they have in its directory; neither touches what its own
layer holds, wherever in that layer it stands. Nothing is read or written here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from stoker_artifacts.contents import Entry, Kind
from stoker_artifacts.errors import Reason, UnsafeArchive, shown, unsupported_image
from stoker_artifacts.limits import Limits
from stoker_artifacts.paths import parts_of
from stoker_artifacts.tree import check_ratio, paths_too_long, too_large, too_many_entries

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"

Source = tuple[int, int]
"""Where an entry stands: its layer, and its place in that."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A file or a symbolic link."""

    entry: Entry
    source: Source
    """Where its data are; several of one source are one file under several names."""
    layer: int
    """The layer that put it there."""


@dataclass(slots=True)
class Directory:
    """A directory, with what all layers so far have put in it."""

    layer: int
    """The last layer that has an entry for it, or the first that has something in it."""
    is_named: bool = False
    """Whether that layer has an entry for it."""
    children: "dict[str, Leaf | Directory]" = field(default_factory=dict["str", "Leaf | Directory"])


class ImageTree:
    """The tree that the entries seen so far make."""

    def __init__(self, packed_bytes: int, limits: Limits) -> None:
        """Begins with nothing but the root, for an archive of `packed_bytes` bytes."""
        self.root = Directory(0)
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._entries = 0
        self._paths_bytes = 0
        self._unpacked_bytes = 0

    def add(self, source: Source, entry: Entry) -> None:
        """Adds an entry, before its data are read. Those of a layer come after all of the layers below.

        Raises:
            UnsafeArchive: It breaks a rule.
        """
        layer = source[0]
        # What is outside the code is never written, and systemd's units are named with backslashes.
        parts = parts_of(entry.name, self._limits, is_kept=False)
        if any("\0" in part for part in parts):
            raise UnsafeArchive(Reason.BAD_NAME, f"{shown(entry.name)}: the path has a control character; rename it")
        if any(part.startswith(_WHITEOUT) for part in parts[:-1]):
            raise UnsafeArchive(Reason.BAD_NAME, f"{shown(entry.name)}: a directory is named as a whiteout")
        path = "/".join(parts)
        self._count(path, entry)
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise UnsafeArchive(Reason.BAD_NAME, f"{shown(entry.name)}: a {entry.kind.value} has no name")
            return
        parent = self._parent(parts, layer)
        if parts[-1].startswith(_WHITEOUT):
            _white_out(parent, parts[-1], layer, entry)
        elif entry.kind is Kind.DIRECTORY:
            _add_directory(parent, parts[-1], layer, path)
        else:
            _make_way(parent, parts[-1], layer, path)
            parent.children[parts[-1]] = self._leaf(entry, source, path)

    def find(self, path: str) -> "Leaf | Directory | None":
        """What is at a path; a path through a link leads nowhere."""
        found: Leaf | Directory | None = self.root
        for part in parts_of(path, self._limits, is_kept=False):
            found = found.children.get(part) if isinstance(found, Directory) else None
        return found

    def _count(self, path: str, entry: Entry) -> None:
        self._entries += 1
        self._paths_bytes += len(path.encode())
        self._unpacked_bytes += entry.size_bytes
        if self._entries > self._limits.entries:
            raise too_many_entries(self._limits)
        if self._paths_bytes > self._limits.all_paths_bytes:
            raise paths_too_long(self._limits)
        if self._unpacked_bytes > self._limits.unpacked_bytes:
            raise too_large(self._limits)
        check_ratio(self._unpacked_bytes, self._packed_bytes, path, self._limits)

    def _parent(self, parts: tuple[str, ...], layer: int) -> Directory:
        directory = self.root
        for depth, part in enumerate(parts[:-1], 1):
            child = directory.children.get(part)
            if child is None:
                self._entries += 1
                child = directory.children[part] = Directory(layer)
            if isinstance(child, Leaf):
                through = "/".join(parts[:depth])
                raise UnsafeArchive(
                    Reason.CONFLICT,
                    f"{shown('/'.join(parts))}: its path leads through {shown(through)}, which is a "
                    f"{child.entry.kind.value} in the image",
                )
            directory = child
        return directory

    def _leaf(self, entry: Entry, source: Source, path: str) -> Leaf:
        if entry.kind is not Kind.HARD_LINK:
            return Leaf(entry, source, source[0])
        target = self.find(entry.target)
        if not isinstance(target, Leaf):
            raise UnsafeArchive(
                Reason.LINK,
                f"{shown(path)}: the hard link leads to {shown(entry.target)}, which is no earlier file of the image",
            )
        return Leaf(target.entry, target.source, source[0])


def all_below(directory: Directory, path: str = "") -> "Iterator[tuple[str, Leaf | Directory]]":
    """Yields all that is in a directory with its path, by name, a directory before what is in it."""
    for name, child in sorted(directory.children.items()):
        yield path + name, child
        if isinstance(child, Directory):
            yield from all_below(child, f"{path}{name}/")


def _add_directory(parent: Directory, name: str, layer: int, path: str) -> None:
    child = parent.children.get(name)
    if isinstance(child, Directory):
        if child.layer == layer and child.is_named:
            raise _twice(path)
        child.layer, child.is_named = layer, True
    elif child is not None and child.layer == layer:
        raise _conflict(path)
    else:
        parent.children[name] = Directory(layer, is_named=True)


def _make_way(parent: Directory, name: str, layer: int, path: str) -> None:
    """Takes away what lower layers have at a path."""
    child = parent.children.get(name)
    if isinstance(child, Leaf) and child.layer == layer:
        raise _twice(path)
    _remove_lower(parent, name, layer)
    if name in parent.children:
        raise _conflict(path)


def _white_out(parent: Directory, name: str, layer: int, entry: Entry) -> None:
    if entry.kind is not Kind.FILE or entry.size_bytes:
        raise UnsafeArchive(Reason.BAD_NAME, f"{shown(entry.name)}: a whiteout is to be an empty file")
    if name == _OPAQUE:
        for child in list(parent.children):
            _remove_lower(parent, child, layer)
        return
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in ("", ".", ".."):
        raise UnsafeArchive(
            Reason.OUTSIDE, f"{shown(entry.name)}: the whiteout names no file of its directory, but {shown(hidden)}"
        )
    if hidden.startswith(_WHITEOUT):
        raise unsupported_image(f"{shown(entry.name)} is no whiteout of OCI")
    _remove_lower(parent, hidden, layer)


def _remove_lower(parent: Directory, name: str, layer: int) -> None:
    """Removes a child as far as it comes from below a layer."""
    child = parent.children.get(name)
    if isinstance(child, Directory):
        for below in list(child.children):
            _remove_lower(child, below, layer)
        if not child.children and child.layer < layer:
            del parent.children[name]
    elif child is not None and child.layer < layer:
        del parent.children[name]


def _twice(path: str) -> UnsafeArchive:
    return UnsafeArchive(Reason.DUPLICATE, f"{shown(path)}: a layer of the image holds it twice")


def _conflict(path: str) -> UnsafeArchive:
    return UnsafeArchive(
        Reason.CONFLICT, f"{shown(path)}: a layer of the image holds it both as a file and as a directory"
    )
