"""Archives of code: what is safe to unpack, and unpacking it.

An archive is a zip, a tar.gz or a saved image, from somebody who is not trusted. `inspect` reads it through and says
what is in it; `unpack` does the same and writes it down. Both go by the same rules, so what the one takes the other
takes too, and both read as a stream: neither an archive nor a file in it is ever in memory whole.

A tree becomes a manifest and chunks (`manifest_of`), and a tree again (`assemble`) where those are: on hosts, which
fetch only the chunks that they lack.
"""

from stoker_artifacts.archive import inspect
from stoker_artifacts.assembling import assemble
from stoker_artifacts.checking import ChangedTree, check, fingerprint
from stoker_artifacts.chunks import Chunk, CorruptChunk, chunk_of, pack_chunk, unpack_chunk
from stoker_artifacts.contents import Contents, Entry, Format, Kind
from stoker_artifacts.errors import Reason, UnsafeArchive
from stoker_artifacts.limits import DEFAULT_LIMITS, Limits
from stoker_artifacts.manifests import CorruptManifest, Manifest, PackedManifest, pack_manifest, unpack_manifest
from stoker_artifacts.scanning import manifest_of
from stoker_artifacts.unpacking import unpack

__all__ = [
    "DEFAULT_LIMITS",
    "ChangedTree",
    "Chunk",
    "Contents",
    "CorruptChunk",
    "CorruptManifest",
    "Entry",
    "Format",
    "Kind",
    "Limits",
    "Manifest",
    "PackedManifest",
    "Reason",
    "UnsafeArchive",
    "assemble",
    "check",
    "chunk_of",
    "fingerprint",
    "inspect",
    "manifest_of",
    "pack_chunk",
    "pack_manifest",
    "unpack",
    "unpack_chunk",
    "unpack_manifest",
]
