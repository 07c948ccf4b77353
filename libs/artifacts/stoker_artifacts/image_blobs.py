"""The files of an image archive: a tar in which descriptions and layers lie side by side."""

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from stoker_artifacts.contents import Kind
from stoker_artifacts.errors import Reason, UnsafeArchive, corrupt, shown, unsupported_image
from stoker_artifacts.limits import Limits
from stoker_artifacts.tars import TarStream, read_tar
from stoker_artifacts.tree import Tree

LONGEST_JSON_BYTES = 4 * 1024 * 1024
"""What registries take of a manifest, too."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file lies in the archive."""

    offset: int
    size_bytes: int


class Blob:
    """One file, read from its beginning, and hashed meanwhile."""

    def __init__(self, name: str, file: BinaryIO, offset: int, size_bytes: int) -> None:
        """Begins at the file's beginning. No other is to be read before this one is done with."""
        file.seek(offset)
        self.name = name
        self.size_bytes = size_bytes
        self._file = file
        self._left = size_bytes
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, `size` of them unless the end is nearer; without `size` all."""
        wanted = self._left if size < 0 else min(size, self._left)
        read = self._file.read(wanted)
        if len(read) != wanted:
            raise corrupt("it ends too early")
        self._left -= wanted
        self._digest.update(read)
        return read

    def read_to_end(self) -> None:
        """Reads what is left, for the digest's sake."""
        while self.read(256 * 1024):
            pass

    def check(self, sha256: str) -> None:
        """Returns if the file, read to its end, has a digest.

        Raises:
            UnsafeArchive: It has another.
        """
        if self._digest.hexdigest() != sha256:
            raise wrong_digest(self.name, sha256, self._digest.hexdigest())


class Blobs:
    """The files of one archive, found by a first pass over it."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        """Reads the archive through.

        Raises:
            UnsafeArchive: It breaks a rule, the same rules as for any archive.
        """
        self._file = file
        self._places, self._links = _find(file, limits)

    def __contains__(self, name: str) -> bool:
        return self._resolved(name) in self._places

    def open(self, name: str) -> Blob:
        """A file, to be read.

        Raises:
            UnsafeArchive: There is none of that name.
        """
        place = self._places.get(self._resolved(name))
        if place is None:
            raise corrupt(f"the image names the file {shown(name)}, which is not in the archive")
        return Blob(name, self._file, place.offset, place.size_bytes)

    def json(self, name: str, sha256: str = "") -> Any:
        """What a JSON file says; checked against a digest where one is given.

        Raises:
            UnsafeArchive: There is none of that name, it is another one, or it is no JSON.
        """
        blob = self.open(name)
        if blob.size_bytes > LONGEST_JSON_BYTES:
            raise unsupported_image(f"{shown(name)} is longer than {LONGEST_JSON_BYTES} bytes")
        text = blob.read()
        if sha256:
            blob.check(sha256)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise corrupt(f"{shown(name)} is no JSON") from error

    def _resolved(self, name: str) -> str:
        # `docker save` writes a layer that several images have once, and links to it for the others.
        return self._links.get(name, name)


def wrong_digest(name: str, told: str, found: str) -> UnsafeArchive:
    """The refusal of an image of which a part is not what it should be."""
    return UnsafeArchive(
        Reason.DIGEST,
        f"{shown(name)}: the image says that its SHA-256 is {told}, and it is {found}; save the image again",
    )


def _find(file: BinaryIO, limits: Limits) -> tuple[Mapping[str, _Place], Mapping[str, str]]:
    """Where each file lies, and where each link leads."""
    file.seek(0)
    stream = TarStream(file, limits)
    tree = Tree(file.seek(0, 2), limits)
    file.seek(0)
    places: dict[str, _Place] = {}
    links: dict[str, str] = {}
    for member in read_tar(stream):
        entry = tree.add(member.entry)
        match entry.kind:
            case Kind.FILE:
                places[entry.name] = _Place(stream.position, entry.size_bytes)
            case Kind.SYMLINK:
                links[entry.name] = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), entry.target))
            case Kind.HARD_LINK:
                links[entry.name] = entry.target
            case Kind.DIRECTORY:
                pass
        for _ in member.data:
            pass
    return places, links
