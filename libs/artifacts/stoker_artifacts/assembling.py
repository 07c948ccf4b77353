"""Making a tree of its manifest and its chunks."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from stoker_artifacts.chunks import Chunk, unpack_chunk
from stoker_artifacts.contents import Kind
from stoker_artifacts.manifests import Manifest
from stoker_artifacts.unpacking import Writer, settle


def assemble(manifest: Manifest, read_chunk: Callable[[Chunk], bytes], directory: Path) -> None:
    """Makes the tree of a manifest in `directory`, as `unpack` would have made it from the archive.

    Each chunk is verified as it is written. All that is there when it returns is on disk to stay. When it fails,
    `directory` is gone again; a crash can leave it behind incomplete, so the caller assembles under a temporary name
    and renames. It blocks.

    Args:
        manifest: The tree, from `unpack_manifest` or `manifest_of`, so one that leaves nothing outside `directory`.
        read_chunk: Gives a chunk's bytes, packed. It is asked in the order of `manifest.chunks`.
        directory: Must not exist.

    Raises:
        CorruptChunk: A chunk's bytes are others.
        FileExistsError: `directory` is already there; it stays as it is.
        OSError: The directory cannot be written.
    """
    directory.mkdir()
    try:
        contents = _Contents(manifest.chunks, read_chunk)
        writer = Writer(directory)
        for entry in manifest.entries:
            writer.write(entry, contents.next(entry.size_bytes if entry.kind is Kind.FILE else 0))
        settle(directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


class _Contents:
    """The stream that chunks make."""

    def __init__(self, chunks: tuple[Chunk, ...], read_chunk: Callable[[Chunk], bytes]) -> None:
        self._chunks = iter(chunks)
        self._read_chunk = read_chunk
        self._rest = memoryview(b"")

    def next(self, size_bytes: int) -> Iterator[bytes | memoryview]:
        """Yields the next so many bytes."""
        while size_bytes:
            if not self._rest:
                self._rest = memoryview(self._read())
            piece = self._rest[:size_bytes]
            self._rest = self._rest[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def _read(self) -> bytes:
        chunk = next(self._chunks)
        return unpack_chunk(chunk, self._read_chunk(chunk))
