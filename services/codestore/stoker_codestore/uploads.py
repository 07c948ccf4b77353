"""Uploads: from a client's stream to an artifact that is stored, checked and known.

Bytes are always sent and always checked, also those of an artifact that is there already: a digest alone proves
nothing, and must not tell one tenant what another has. Until all is done the bytes are in a file without a name, so
nothing is left of an upload that breaks off, however it does.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import structlog
from stoker_artifacts import Contents, UnsafeArchive, inspect

from stoker_codestore import errors
from stoker_codestore.artifacts import Artifact, Artifacts
from stoker_codestore.manifests import Manifests
from stoker_codestore.object_store import ArtifactStore
from stoker_codestore.threads import run_to_end

log = structlog.get_logger()

KEEP_ATTEMPTS = 3
"""How often a content is stored that is swept meanwhile, which needs a codestore that stands still for an hour."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a client says is coming."""

    sha256: str
    size_bytes: int


class Uploads:
    """Takes uploads, some at once."""

    def __init__(
        self,
        artifacts: Artifacts,
        store: ArtifactStore,
        manifests: Manifests,
        directory: Path,
        *,
        max_uploads: int,
        upload_s: float,
        idle_s: float,
    ) -> None:
        """Takes no uploads yet.

        Args:
            artifacts: Where they become known.
            store: Where their bytes go.
            manifests: What they consist of, which is stored too.
            directory: Where they are until they are checked.
            max_uploads: How many may run at once.
            upload_s: How long one may take, in seconds.
            idle_s: How long one may wait for the next bytes, in seconds.
        """
        self._artifacts = artifacts
        self._store = store
        self._manifests = manifests
        self._directory = directory
        self._max_uploads = max_uploads
        self._upload_s = upload_s
        self._idle_s = idle_s
        self._running = 0

    async def take(self, tenant: str, parts: AsyncIterator[Header | bytes]) -> Artifact:
        """Takes an upload: a header, then bytes.

        Raises:
            StokerError: TOO_MANY_UPLOADS, QUOTA_EXCEEDED; UPLOAD_TOO_SLOW, UPLOAD_STALLED, UPLOADS_UNWRITABLE;
                UPLOAD_MALFORMED, SIZE_MISMATCH, DIGEST_MISMATCH, ARTIFACT_UNSAFE; UPLOAD_OVERTAKEN,
                ARTIFACT_STORE_UNAVAILABLE, DATABASE_UNAVAILABLE.
        """
        if self._running >= self._max_uploads:
            raise errors.too_many_uploads(self._max_uploads)
        self._running += 1
        try:
            async with asyncio.timeout(self._upload_s):
                return await self._take(tenant, parts)
        except TimeoutError as error:
            raise errors.upload_too_slow(self._upload_s) from error
        except OSError as error:
            log.error("uploads.unwritable", exc_info=error)
            raise errors.uploads_unwritable() from error
        finally:
            self._running -= 1

    async def _take(self, tenant: str, parts: AsyncIterator[Header | bytes]) -> Artifact:
        header = await self._next(parts)
        if not isinstance(header, Header):
            raise errors.upload_malformed("header", "the first message must be the header")
        await self._artifacts.check_room(tenant, header.sha256, header.size_bytes)
        # Opened here, not in a thread, so that a cancellation cannot lose it; it takes microseconds.
        file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._directory))  # noqa: SIM115 - closing it may take long
        try:
            await self._receive(header, parts, file)
            contents = await run_to_end(_inspect, file)
            artifact = await self._keep(tenant, header, contents, file)
        finally:
            await run_to_end(file.close)
        log.info("artifact.uploaded", tenant=tenant, sha256=header.sha256, size_bytes=header.size_bytes)
        return artifact

    async def _keep(self, tenant: str, header: Header, contents: Contents, file: BinaryIO) -> Artifact:
        """Stores what has been checked, and makes it known."""
        for _ in range(KEEP_ATTEMPTS):
            key = await self._artifacts.reserve(header.sha256, header.size_bytes, contents)
            if not await self._store.holds(key, header.size_bytes):
                await self._store.write(key, file)
            if artifact := await self._artifacts.add(tenant, header.sha256, key):
                await self._manifests.of(artifact, _path_of(file))
                return artifact
            log.warning("artifact.swept_while_uploaded", tenant=tenant, sha256=header.sha256)
        raise errors.upload_overtaken()

    async def _receive(self, header: Header, parts: AsyncIterator[Header | bytes], file: BinaryIO) -> None:
        digest = hashlib.sha256()
        received_bytes = 0

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        while (part := await self._next(parts)) is not None:
            if isinstance(part, Header):
                raise errors.upload_malformed("header", "only the first message may be a header")
            received_bytes += len(part)
            if received_bytes > header.size_bytes:
                raise errors.size_mismatch(header.size_bytes, "more came")
            await run_to_end(write, part)
        if received_bytes != header.size_bytes:
            raise errors.size_mismatch(header.size_bytes, f"only {received_bytes} came")
        if digest.hexdigest() != header.sha256:
            raise errors.digest_mismatch(header.sha256, digest.hexdigest())
        await run_to_end(file.flush)

    async def _next(self, parts: AsyncIterator[Header | bytes]) -> Header | bytes | None:
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(parts, None)
        except TimeoutError as error:
            raise errors.upload_stalled(self._idle_s) from error


def _inspect(file: BinaryIO) -> Contents:
    try:
        return inspect(_path_of(file))
    except UnsafeArchive as refusal:
        raise errors.artifact_unsafe(refusal.reason, refusal.message) from refusal


def _path_of(file: BinaryIO) -> Path:
    # It has no other path than that of its descriptor.
    return Path(f"/proc/self/fd/{file.fileno()}")
