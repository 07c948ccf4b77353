"""Where code comes from: chunks that are here already, and the rest from other hosts and the codestore.

Each chunk is verified when it comes and when it is used. What came before a fetch broke off is kept, so the next one
goes on where it ended.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from stoker_artifacts import Chunk, CorruptChunk, assemble
from stoker_service.errors import ErrorKind, StokerError

from stoker_hostagent import errors
from stoker_hostagent.artifact import Artifact
from stoker_hostagent.chunk_store import ChunkStore
from stoker_hostagent.codestore import Codestore, Found

log = structlog.get_logger()

ATTEMPTS = 6
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 3.0
ASSEMBLE_ATTEMPTS = 3
"""How often a tree is put together anew because a chunk on the disk was damaged."""
CODESTORE = ""
"""The source that is no host."""

Result = TypeVar("Result")

Told = Callable[[int, int], None]
"""Told how much was lacking and how much of that has come, in bytes."""


def _tell_nobody(_lacking_bytes: int, _fetched_bytes: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Way:
    """How an artifact is fetched."""

    source: str | None = None
    """The address of the host that alone is asked, empty for the codestore; None for whoever has it."""
    told: Told = _tell_nobody


ON_DEMAND = Way()


class CodeSource:
    """Makes code."""

    def __init__(self, codestore: Codestore, chunks: ChunkStore, fetch_s: float) -> None:
        """Fetches from a codestore and other hosts what is not in the store of chunks, within `fetch_s` seconds."""
        self._codestore = codestore
        self._chunks = chunks
        self._fetch_s = fetch_s

    async def find(self, artifact: Artifact) -> Found:
        """Finds out what an artifact consists of. A codestore that is away is asked again.

        Raises:
            StokerError: ARTIFACT_CORRUPT, ARTIFACT_FETCH_TIMEOUT, or the codestore's own.
        """
        try:
            async with asyncio.timeout(self._fetch_s):
                return await _again(artifact, lambda: self._codestore.find(artifact))
        except TimeoutError as error:
            raise errors.artifact_too_slow(artifact.sha256, self._fetch_s) from error

    async def fetch(self, artifact: Artifact, found: Found, way: Way = ON_DEMAND) -> None:
        """Fetches the chunks that are lacking.

        Raises:
            StokerError: ARTIFACT_CORRUPT, ARTIFACT_FETCH_TIMEOUT, or what was said by the last who was asked.
        """
        try:
            async with asyncio.timeout(self._fetch_s):
                await self._fetch(artifact, found, way)
        except TimeoutError as error:
            raise errors.artifact_too_slow(artifact.sha256, self._fetch_s) from error

    async def make(self, artifact: Artifact, found: Found, directory: Path) -> None:
        """Puts code together in `directory`, which must not exist.

        Raises:
            StokerError: ARTIFACT_CORRUPT, or what was said by the last who was asked for a chunk that was damaged.
            OSError: It cannot be written.
        """
        for _ in range(ASSEMBLE_ATTEMPTS):
            damaged = await asyncio.to_thread(self._assemble, found, directory)
            if damaged is None:
                return
            log.warning("chunk_store.damaged", chunk=damaged.sha256)
            self._chunks.forget(damaged.sha256)
            await self.fetch(artifact, found)
        raise errors.artifact_corrupt(artifact.sha256, "its chunks are damaged again and again on this host's disk")

    async def _fetch(self, artifact: Artifact, found: Found, way: Way) -> None:
        chunks = found.manifest.distinct_chunks()
        lacking_bytes = sum(chunk.size_bytes for chunk in self._chunks.lacking(chunks))
        fetched_bytes = 0

        def came(some_bytes: int) -> None:
            nonlocal fetched_bytes
            fetched_bytes += some_bytes
            way.told(lacking_bytes, fetched_bytes)

        way.told(lacking_bytes, 0)
        if way.source:
            # It is not tried again: the codestore says whom to ask instead.
            return await self._fetch_from(artifact, way.source, chunks, came)
        for peer in found.peers if way.source is None else ():
            try:
                await self._fetch_from(artifact, peer, chunks, came)
            except StokerError as error:
                log.info("code.peer_failed", peer=peer, sha256=artifact.sha256, message=error.message)
        await _again(artifact, lambda: self._fetch_from(artifact, CODESTORE, chunks, came))
        return None

    def _assemble(self, found: Found, directory: Path) -> Chunk | None:
        """Puts code together; returns the chunk that is damaged, where one is."""
        reading: list[Chunk] = []

        def read(chunk: Chunk) -> bytes:
            reading[:] = [chunk]
            packed = self._chunks.read(chunk.sha256)
            if packed is None:
                raise CorruptChunk(f"chunk {chunk.sha256} is gone")
            return packed

        try:
            assemble(found.manifest, read, directory)
        except CorruptChunk:
            return reading[0]
        return None

    async def _fetch_from(
        self, artifact: Artifact, source: str, chunks: Sequence[Chunk], came: Callable[[int], None]
    ) -> None:
        lacking = {chunk.sha256: chunk for chunk in self._chunks.lacking(chunks)}
        if not lacking:
            return
        async for some in self._codestore.chunks(list(lacking), source):
            try:
                packed = [(lacking.pop(name), data) for name, data in some]
                await self._chunks.add(packed)
            except (CorruptChunk, KeyError) as error:
                raise errors.artifact_corrupt(artifact.sha256, str(error)) from error
            came(sum(chunk.size_bytes for chunk, _ in packed))
        if lacking:
            raise errors.artifact_corrupt(artifact.sha256, f"{len(lacking)} of its chunks did not come")


async def _again(artifact: Artifact, attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Does what may have to be tried a few times, since who is asked may be away or busy for a moment."""
    for number in range(1, ATTEMPTS):
        try:
            return await attempt()
        except StokerError as error:
            if error.kind not in (ErrorKind.UNAVAILABLE, ErrorKind.RESOURCE_EXHAUSTED):
                raise
            log.info("artifact.fetch_again", sha256=artifact.sha256, attempt=number, message=error.message)
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (number - 1))
        await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - spreads hosts in time
    return await attempt()
