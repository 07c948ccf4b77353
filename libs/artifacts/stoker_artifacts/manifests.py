"""What a tree consists of: its entries, and the chunks of its files' contents.

The contents of all files, one after the other in the order of the entries, are one stream that is cut into chunks. So
ten thousand small files do not become ten thousand chunks, and how an archive was packed leaves no trace: equal trees
have equal manifests, which the manifest's own SHA-256 names.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import zstandard

from stoker_artifacts.chunks import LEVEL, MAX_BYTES, Chunk
from stoker_artifacts.contents import Entry, Kind
from stoker_artifacts.errors import UnsafeArchive
from stoker_artifacts.limits import DEFAULT_LIMITS, MIB, Limits
from stoker_artifacts.tree import Tree

MAX_MANIFEST_BYTES = 64 * MIB
"""The most that a manifest unpacks to: what the limits for archives come to, in bytes."""
_FORM = 1
_LETTERS = {Kind.FILE: "f", Kind.DIRECTORY: "d", Kind.SYMLINK: "l", Kind.HARD_LINK: "h"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A tree."""

    entries: tuple[Entry, ...]
    """Parents before children, names in the order of their bytes."""
    chunks: tuple[Chunk, ...]
    """The contents of all files, one after the other; a chunk that comes twice stands here twice."""

    @property
    def unpacked_size_bytes(self) -> int:
        """The sizes of all files together."""
        return sum(entry.size_bytes for entry in self.entries)

    @property
    def file_count(self) -> int:
        """How many files and links there are."""
        return sum(entry.kind is not Kind.DIRECTORY for entry in self.entries)

    def distinct_chunks(self) -> tuple[Chunk, ...]:
        """The chunks, each once, in the order in which they are needed."""
        return tuple(dict.fromkeys(self.chunks))


@dataclass(frozen=True, slots=True)
class PackedManifest:
    """A manifest as it is kept and sent."""

    sha256: str
    """The SHA-256 of what is packed, which names the tree."""
    data: bytes


class CorruptManifest(Exception):
    """Bytes are not the manifest that they should be, or one that describes no tree that is allowed."""


def pack_manifest(manifest: Manifest) -> PackedManifest:
    """Encodes and compresses a manifest. Equal ones become the same bytes before compression, and so one digest."""
    form = {
        "form": _FORM,
        "entries": [_item(entry) for entry in manifest.entries],
        "chunks": [[chunk.sha256, chunk.size_bytes] for chunk in manifest.chunks],
    }
    encoded = json.dumps(form, ensure_ascii=False, separators=(",", ":")).encode()
    return PackedManifest(hashlib.sha256(encoded).hexdigest(), zstandard.ZstdCompressor(level=LEVEL).compress(encoded))


def unpack_manifest(sha256: str, packed: bytes, limits: Limits = DEFAULT_LIMITS) -> Manifest:
    """Reads a manifest, and verifies it: its digest, and that its tree is one that an archive could have held.

    Raises:
        CorruptManifest: It is not what `sha256` names, or breaks a rule.
    """
    try:
        if zstandard.frame_content_size(packed) > MAX_MANIFEST_BYTES:
            _refuse(sha256, f"it is larger than {MAX_MANIFEST_BYTES} bytes")
        encoded = zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptManifest(f"manifest {sha256}: it cannot be unpacked: {error}") from error
    found = hashlib.sha256(encoded).hexdigest()
    if found != sha256:
        _refuse(sha256, f"its SHA-256 is {found}")
    try:
        manifest = _manifest(json.loads(encoded))
        _check(manifest, limits)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise CorruptManifest(f"manifest {sha256}: it is malformed: {error}") from error
    except UnsafeArchive as error:
        raise CorruptManifest(f"manifest {sha256}: {error.message}") from error
    return manifest


def _item(entry: Entry) -> list[object]:
    match entry.kind:
        case Kind.FILE:
            return ["x" if entry.is_executable else "f", entry.name, entry.size_bytes]
        case Kind.DIRECTORY:
            return [_LETTERS[entry.kind], entry.name]
        case Kind.SYMLINK | Kind.HARD_LINK:
            return [_LETTERS[entry.kind], entry.name, entry.target]


def _entry(item: list[Any]) -> Entry:
    letter, name, *rest = item
    if letter == "x":
        return replace(_entry(["f", name, *rest]), is_executable=True)
    match _KINDS[letter], rest:
        case Kind.FILE, [int(size_bytes)] if size_bytes >= 0:
            return Entry(str(name), Kind.FILE, size_bytes)
        case Kind.DIRECTORY, []:
            return Entry(str(name), Kind.DIRECTORY)
        case (Kind.SYMLINK | Kind.HARD_LINK) as kind, [str(target)]:
            return Entry(str(name), kind, target=target)
        case _:
            raise ValueError(f"an entry has {rest}")


def _chunk(item: list[Any]) -> Chunk:
    match item:
        case [str(sha256), int(size_bytes)] if len(sha256) == 64 and _HEX.issuperset(sha256):
            if 0 < size_bytes <= MAX_BYTES:
                return Chunk(sha256, size_bytes)
        case _:
            pass
    raise ValueError(f"a chunk is {item}")


def _manifest(form: Any) -> Manifest:
    if form["form"] != _FORM:
        raise ValueError(f"its form is {form['form']}, where {_FORM} is known")
    entries = cast("list[list[Any]]", form["entries"])
    chunks = cast("list[list[Any]]", form["chunks"])
    return Manifest(tuple(map(_entry, entries)), tuple(map(_chunk, chunks)))


def _check(manifest: Manifest, limits: Limits) -> None:
    # What the archive was packed to is not known any more; its ratio was looked at when it came.
    tree = Tree(limits.unpacked_bytes, limits)
    for entry in manifest.entries:
        if tree.add(entry).name != entry.name:
            raise ValueError(f"the path `{entry.name}` is not plain")
    chunks_bytes = sum(chunk.size_bytes for chunk in manifest.chunks)
    if chunks_bytes != tree.unpacked_size_bytes:
        raise ValueError(f"its files have {tree.unpacked_size_bytes} bytes, and its chunks {chunks_bytes}")


def _refuse(sha256: str, what: str) -> NoReturn:
    raise CorruptManifest(f"manifest {sha256}: {what}")
