"""What artifacts consist of, for hosts: made once, when an artifact is uploaded, and stored as manifest and chunks.

Rows say that an artifact needs a chunk before the chunk is looked for in the store, so none is removed meanwhile that
is thought to be there. Whatever is lacking, of an artifact that was stored before there were manifests or by a
codestore that was killed, is made up for when a host asks for it.
"""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from stoker_artifacts import (
    Chunk,
    Manifest,
    PackedManifest,
    UnsafeArchive,
    manifest_of,
    pack_chunk,
    pack_manifest,
    unpack,
)

from stoker_codestore import errors
from stoker_codestore.artifacts import Artifact
from stoker_codestore.database import Database, now
from stoker_codestore.doomed_objects import doom, reprieve
from stoker_codestore.object_store import ArtifactStore
from stoker_codestore.tables import ArtifactChunkRow, ChunkRow, ManifestRow
from stoker_codestore.threads import run_to_end

log = structlog.get_logger()

WORK_PREFIX = "manifest-"
"""What the directories' names begin with that archives are unpacked to."""
MAKE_S = 300.0
"""How long making a manifest may take, in seconds, with writing all its chunks."""
MADE_AT_ONCE = 2
WRITES_AT_ONCE = 8
"""Chunks that are packed and written at once; small writes mostly wait."""
ROWS_AT_ONCE = 500
"""How many rows one statement names; databases bound how many parameters it has."""
RESERVE_ATTEMPTS = 5
"""How often chunks are reserved anew, where others add or remove the same at the same time."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest that is stored with all its chunks."""

    sha256: str
    """Its own digest."""
    object_key: str


class Manifests:
    """The manifests of all artifacts."""

    def __init__(
        self, database: Database, store: ArtifactStore, directory: Path, clock: Callable[[], datetime] = now
    ) -> None:
        """Uses `directory` for what archives are unpacked to meanwhile."""
        self._database = database
        self._clock = clock
        self._store = store
        self._directory = directory
        self._gate = asyncio.Semaphore(MADE_AT_ONCE)
        self._making: dict[str, asyncio.Lock] = {}

    async def of(self, artifact: Artifact, archive: Path | None = None) -> StoredManifest:
        """The manifest of an artifact, made if there is none.

        Args:
            artifact: One that is known and stored.
            archive: Its archive, where it is at hand.

        Raises:
            StokerError: MANIFEST_TOO_SLOW, UPLOADS_UNWRITABLE, ARTIFACT_UNSAFE, ARTIFACT_STORE_UNAVAILABLE,
                ARTIFACT_LOST, DATABASE_UNAVAILABLE.
        """
        if found := await self._find(artifact.sha256):
            return found
        lock = self._making.setdefault(artifact.sha256, asyncio.Lock())
        try:
            async with asyncio.timeout(MAKE_S), lock, self._gate:
                return await self._find(artifact.sha256) or await self._make(artifact, archive)
        except TimeoutError as error:
            raise errors.manifest_too_slow(artifact.sha256, MAKE_S) from error
        except UnsafeArchive as refusal:
            raise errors.artifact_unsafe(refusal.reason, refusal.message) from refusal
        except OSError as error:
            log.error("manifests.unwritable", exc_info=error)
            raise errors.uploads_unwritable() from error
        finally:
            if not lock.locked():
                self._making.pop(artifact.sha256, None)

    async def keys_of_chunks(self, sha256s: Sequence[str]) -> Mapping[str, str]:
        """What the store calls chunks; those that it does not have are not among them.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        found: dict[str, str] = {}
        async with self._database.transaction() as session:
            for some in _batches(sha256s):
                query = select(ChunkRow.sha256, ChunkRow.object_key).where(
                    ChunkRow.sha256.in_(some), ChunkRow.is_stored.is_(True)
                )
                found.update((row.sha256, row.object_key) for row in await session.execute(query))
        return found

    async def _find(self, sha256: str) -> StoredManifest | None:
        async with self._database.transaction() as session:
            row = await session.get(ManifestRow, sha256)
        return StoredManifest(row.sha256, row.object_key) if row else None

    async def _make(self, artifact: Artifact, archive: Path | None) -> StoredManifest:
        work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=self._directory))
        try:
            if archive is None:
                archive = work / "archive"
                await self._fetch(artifact, archive)
            tree = work / "tree"
            await run_to_end(unpack, archive, tree, is_to_last=False)
            manifest = await run_to_end(manifest_of, tree, work / "scratch")
            keys = await self._reserve(artifact.sha256, manifest.distinct_chunks())
            packed_bytes = await run_to_end(_write_chunks, tree, work / "scratch", keys, self._store)
            stored = await self._write(manifest)
            await self._note(artifact.sha256, stored, keys, packed_bytes)
        finally:
            await run_to_end(shutil.rmtree, work, ignore_errors=True)
        log.info("manifest.made", sha256=artifact.sha256, chunks=len(manifest.chunks), new_chunks=len(keys))
        return stored

    async def _fetch(self, artifact: Artifact, into: Path) -> None:
        file = await run_to_end(into.open, "wb")
        try:
            async for block in self._store.read(artifact.object_key):
                await run_to_end(file.write, block)
        finally:
            await run_to_end(file.close)

    async def _reserve(self, artifact_sha256: str, chunks: Sequence[Chunk]) -> Mapping[str, str]:
        """Says that the artifact needs chunks; returns the keys of those that are not in the store yet."""
        for _ in range(RESERVE_ATTEMPTS):
            try:
                async with self._database.transaction() as session:
                    return await _reserve(session, artifact_sha256, chunks)
            except IntegrityError:
                log.info("manifest.reserved_again", sha256=artifact_sha256)
        raise errors.database_unavailable()

    async def _write(self, manifest: Manifest) -> StoredManifest:
        packed: PackedManifest = await run_to_end(pack_manifest, manifest)
        key = new_key("manifests", packed.sha256)
        async with self._database.transaction() as session:
            # Until a row names it, it is to be deleted, so that nothing is left of it whatever happens.
            await doom(session, [key], self._clock())
        await run_to_end(self._store.put, key, packed.data)
        await run_to_end(self._store.settle, [key])
        return StoredManifest(packed.sha256, key)

    async def _note(
        self, artifact_sha256: str, stored: StoredManifest, keys: Mapping[str, str], packed_bytes: int
    ) -> None:
        row = ManifestRow(
            artifact_sha256=artifact_sha256,
            sha256=stored.sha256,
            packed_bytes=packed_bytes,
            object_key=stored.object_key,
        )
        try:
            async with self._database.transaction() as session:
                for some in _batches(list(keys)):
                    await session.execute(update(ChunkRow).where(ChunkRow.sha256.in_(some)).values(is_stored=True))
                if await session.get(ManifestRow, artifact_sha256) is None:
                    if not await reprieve(session, stored.object_key):
                        raise errors.manifest_too_slow(artifact_sha256, MAKE_S)
                    session.add(row)
        except IntegrityError as error:
            # It has been swept, as nobody has had it for long.
            raise errors.artifact_not_found(artifact_sha256) from error


def new_key(kind: str, sha256: str) -> str:
    """A key for a chunk or a manifest; no other call gives it."""
    return f"{kind}/{sha256[:2]}/{sha256}-{uuid.uuid4().hex[:16]}"


async def _reserve(session: AsyncSession, artifact_sha256: str, chunks: Sequence[Chunk]) -> Mapping[str, str]:
    lacking: dict[str, str] = {}
    # In one order, so that two who need the same chunks do not wait for each other.
    for some in _batches(sorted(chunks, key=lambda chunk: chunk.sha256)):
        names = [chunk.sha256 for chunk in some]
        rows = (await session.execute(select(ChunkRow).where(ChunkRow.sha256.in_(names)))).scalars().all()
        known = {row.sha256 for row in rows}
        lacking.update((row.sha256, row.object_key) for row in rows if not row.is_stored)
        new = [
            {
                "sha256": chunk.sha256,
                "size_bytes": chunk.size_bytes,
                "object_key": new_key("chunks", chunk.sha256),
                "is_stored": False,
            }
            for chunk in some
            if chunk.sha256 not in known
        ]
        lacking.update((str(row["sha256"]), str(row["object_key"])) for row in new)
        if new:
            await session.execute(insert(ChunkRow), new)
        needs = select(ArtifactChunkRow.chunk_sha256).where(
            ArtifactChunkRow.artifact_sha256 == artifact_sha256, ArtifactChunkRow.chunk_sha256.in_(names)
        )
        noted = set((await session.execute(needs)).scalars())
        needed = [{"artifact_sha256": artifact_sha256, "chunk_sha256": name} for name in names if name not in noted]
        if needed:
            await session.execute(insert(ArtifactChunkRow), needed)
    return lacking


def _write_chunks(tree: Path, scratch: Path, keys: Mapping[str, str], store: ArtifactStore) -> int:
    """Writes those chunks of a tree that are in `keys`; returns their size as stored. It blocks."""
    left = dict(keys)
    running: set[Future[int]] = set()
    packed_bytes = 0

    def write(key: str, data: bytes) -> int:
        packed = pack_chunk(data)
        store.put(key, packed)
        return len(packed)

    with ThreadPoolExecutor(WRITES_AT_ONCE, "chunk") as threads:

        def take(chunk: Chunk, data: memoryview) -> None:
            nonlocal running, packed_bytes
            if key := left.pop(chunk.sha256, None):
                if len(running) >= 2 * WRITES_AT_ONCE:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    packed_bytes += sum(each.result() for each in done)
                running.add(threads.submit(write, key, bytes(data)))

        manifest_of(tree, scratch, take)
        packed_bytes += sum(each.result() for each in running)
    store.settle(list(keys.values()))
    return packed_bytes


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for begin in range(0, len(items), ROWS_AT_ONCE):
        yield items[begin : begin + ROWS_AT_ONCE]
