"""Chunks of code on this host's disk, of which trees are made here and on other hosts.

They are kept as they are sent, compressed, each in a file that its SHA-256 names. A file that is damaged or gone does
no harm: chunks are verified whenever they are used, and fetched again.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog
from stoker_artifacts import Chunk, unpack_chunk

log = structlog.get_logger()


class ChunkStore:
    """The chunks. Once there are too many, those go first that were used least recently and nobody needs now."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Begins empty; `open` finds what is on the disk."""
        self._directory = directory
        self._max_bytes = max_bytes
        # In the order of their last use.
        self._sizes: dict[str, int] = {}
        self._used_bytes = 0
        self._pins: Counter[str] = Counter()

    async def open(self) -> None:
        """Finds what an earlier run left."""
        for sha256, size_bytes in await asyncio.to_thread(_find, self._directory):
            self._sizes[sha256] = size_bytes
            self._used_bytes += size_bytes
        log.info("chunk_store.opened", chunks=len(self._sizes), bytes=self._used_bytes)

    @contextmanager
    def pinned(self, chunks: Sequence[Chunk]) -> Generator[None]:
        """Keeps chunks, those that are there and those that come, while the context is entered."""
        names = [chunk.sha256 for chunk in chunks]
        self._pins.update(names)
        try:
            yield
        finally:
            self._pins.subtract(names)
            for name in names:
                if self._pins[name] <= 0:
                    del self._pins[name]

    def lacking(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Those of the chunks that are not there. The others count as used."""
        lacking: list[Chunk] = []
        for chunk in chunks:
            if (size_bytes := self._sizes.pop(chunk.sha256, None)) is None:
                lacking.append(chunk)
            else:
                self._sizes[chunk.sha256] = size_bytes
        return lacking

    async def add(self, packed: Sequence[tuple[Chunk, bytes]]) -> None:
        """Verifies chunks and keeps them.

        Raises:
            CorruptChunk: One is not what it should be; those before it are kept.
            OSError: They cannot be written.
        """
        written: list[tuple[str, int]] = []
        try:
            await asyncio.to_thread(self._write, packed, written)
        finally:
            for sha256, size_bytes in written:
                self._used_bytes += size_bytes - self._sizes.pop(sha256, 0)
                self._sizes[sha256] = size_bytes
        if superfluous := self._take_out():
            await asyncio.to_thread(_remove, superfluous)

    def read(self, sha256: str) -> bytes | None:
        """A chunk as it is kept, not verified; None where there is none. It blocks."""
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, sha256: str) -> None:
        """Says that a chunk is damaged or gone. The next that comes takes its place."""
        self._used_bytes -= self._sizes.pop(sha256, 0)

    def _path(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256

    def _write(self, packed: Sequence[tuple[Chunk, bytes]], written: list[tuple[str, int]]) -> None:
        for chunk, data in packed:
            unpack_chunk(chunk, data)
            path = self._path(chunk.sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            incoming = path.with_suffix(f".{os.urandom(4).hex()}")
            incoming.write_bytes(data)
            incoming.rename(path)
            written.append((chunk.sha256, len(data)))

    def _take_out(self) -> list[Path]:
        excess_bytes = self._used_bytes - self._max_bytes
        names: list[str] = []
        for sha256, size_bytes in self._sizes.items():
            if excess_bytes <= 0:
                break
            if sha256 not in self._pins:
                names.append(sha256)
                excess_bytes -= size_bytes
        for sha256 in names:
            self.forget(sha256)
        return [self._path(sha256) for sha256 in names]


def _find(directory: Path) -> list[tuple[str, int]]:
    """The chunks with their sizes, those that came first at the beginning; removes what was half-written."""
    found: list[tuple[float, str, int]] = []
    for path in directory.glob("*/*"):
        if path.suffix:
            path.unlink()
        else:
            status = path.stat()
            found.append((status.st_mtime, path.name, status.st_size))
    return [(name, size_bytes) for _, name, size_bytes in sorted(found)]


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
