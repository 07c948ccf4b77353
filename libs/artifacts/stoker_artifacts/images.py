"""Images, as `docker save` writes them or in an OCI layout: their layers become one tree, of which one part is code.

Code is the image's working directory; where it has none but `/`, `/var/task`, and where that is not there, all. Of the
rest nothing is kept, as a function runs in the guest's root and not in the image's.

The archive is read three times: to find the files in it, to stack its layers, which also checks them to the last byte,
and to read those files whose data are wanted.
"""

import posixpath
from collections.abc import Iterator
from pathlib import Path

from stoker_artifacts.contents import Entry, Kind, Member
from stoker_artifacts.errors import Reason, UnsafeArchive, shown
from stoker_artifacts.image_blobs import Blobs
from stoker_artifacts.image_layers import LayerReader
from stoker_artifacts.image_manifest import Image, find_image
from stoker_artifacts.image_tree import Directory, ImageTree, Leaf, Source, all_below
from stoker_artifacts.limits import Limits

MAGIC_OFFSET = 257
MAGIC = b"ustar"
"""What a tar has there that is not gzipped."""
_TASK = "var/task"


def read_image(path: Path, limits: Limits) -> Iterator[Member]:
    """Yields the entries of an image's code.

    Raises:
        UnsafeArchive: The image is damaged, or made in a way that is not supported.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        blobs = Blobs(file, limits)
        image = find_image(blobs)
        tree = ImageTree(path.stat().st_size, limits)
        for member, source in _entries(blobs, image, limits):
            tree.add(source, member.entry)
            _skip(member)
        code, directory = _code_of(tree, image)
        wanted: dict[Source, list[tuple[str, Leaf]]] = {}
        for name, found in all_below(directory):
            if isinstance(found, Directory):
                yield Member(Entry(name, Kind.DIRECTORY), iter(()))
            elif found.entry.kind is Kind.SYMLINK:
                yield Member(_symlink(name, found.entry.target, code), iter(()))
            else:
                wanted.setdefault(found.source, []).append((name, found))
        layers = {layer for layer, _ in wanted}
        for member, source in _entries(blobs, image, limits, layers):
            if names := wanted.get(source):
                yield from _files(member, names)
            else:
                _skip(member)


def _entries(
    blobs: Blobs, image: Image, limits: Limits, layers: set[int] | None = None
) -> Iterator[tuple[Member, Source]]:
    """The entries of all layers, or of some, from the bottom up."""
    reader = LayerReader(blobs, limits)
    for number, layer in enumerate(image.layers):
        if layers is None or number in layers:
            for index, member in enumerate(reader.read(layer)):
                yield member, (number, index)


def _files(member: Member, names: list[tuple[str, Leaf]]) -> Iterator[Member]:
    """A file under its first name, and links for its others."""
    first, leaf = names[0]
    entry = leaf.entry
    yield Member(Entry(first, Kind.FILE, entry.size_bytes, is_executable=entry.is_executable), member.data)
    for name, _ in names[1:]:
        yield Member(Entry(name, Kind.HARD_LINK, target=first), iter(()))


def _code_of(tree: ImageTree, image: Image) -> tuple[str, Directory]:
    """The directory of the code, with its path in the image."""
    told = posixpath.normpath("/" + image.working_directory).lstrip("/")
    found = tree.find(told or _TASK)
    if isinstance(found, Directory):
        return told or _TASK, found
    if not told:
        return "", tree.root
    raise UnsafeArchive(
        Reason.EMPTY,
        f"the image's working directory {shown(image.working_directory)} is no directory in it; let WORKDIR name the "
        "one that the code is in",
    )


def _symlink(name: str, target: str, code: str) -> Entry:
    """A symbolic link of the code. One that leads into the code from the image's root is made relative."""
    root = f"/{code}/" if code else "/"
    if target.startswith(root):
        inside = posixpath.normpath(target[len(root) :])
        if not inside.startswith(".."):
            target = posixpath.relpath(inside, posixpath.dirname(name) or ".")
    return Entry(name, Kind.SYMLINK, target=target)


def _skip(member: Member) -> None:
    for _ in member.data:
        pass
