"""The codestore, as the host agent asks it."""

import asyncio
import hashlib
import random
from pathlib import Path

import grpc.aio
import structlog
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.status import error_from_rpc

from stoker_hostagent import errors
from stoker_hostagent.code_cache import Artifact

log = structlog.get_logger()

ATTEMPTS = 6
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 3.0


class Codestore:
    """Artifacts."""

    def __init__(self, channel: grpc.aio.Channel, fetch_s: float) -> None:
        """Uses a channel to the codestore; one fetch may take `fetch_s` seconds with all its attempts."""
        self._artifacts = codestore_pb2_grpc.ArtifactFetchServiceStub(channel)
        self._fetch_s = fetch_s

    async def fetch(self, artifact: Artifact, into: Path) -> None:
        """Writes an artifact into a file, and verifies it.

        A codestore that is away is asked again, up to six times.

        Raises:
            StokerError: ARTIFACT_CORRUPT, ARTIFACT_FETCH_TIMEOUT, or the codestore's own.
        """
        try:
            async with asyncio.timeout(self._fetch_s):
                for attempt in range(1, ATTEMPTS + 1):
                    try:
                        return await self._fetch_once(artifact, into)
                    except StokerError as error:
                        if error.kind is not ErrorKind.UNAVAILABLE or attempt == ATTEMPTS:
                            raise
                        log.info("artifact.fetch_again", sha256=artifact.sha256, attempt=attempt, message=error.message)
                    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
                    await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - spreads hosts in time
        except TimeoutError as error:
            raise errors.artifact_too_slow(artifact.sha256, self._fetch_s) from error

    async def _fetch_once(self, artifact: Artifact, into: Path) -> None:
        request = codestore_pb2.FetchArtifactRequest(tenant=artifact.tenant, sha256=artifact.sha256)
        writer = await asyncio.to_thread(_Writer, artifact, into)
        try:
            async for response in self._artifacts.FetchArtifact(request, timeout=self._fetch_s):
                await asyncio.to_thread(writer.write, response.chunk)
            writer.check()
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure) from failure
        finally:
            await asyncio.to_thread(writer.close)


class _Writer:
    """Writes and hashes what comes; runs in threads, one call at a time."""

    def __init__(self, artifact: Artifact, path: Path) -> None:
        self._artifact = artifact
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self._written_bytes = 0

    def write(self, chunk: bytes) -> None:
        self._written_bytes += len(chunk)
        if self._written_bytes > self._artifact.size_bytes:
            raise errors.artifact_corrupt(self._artifact.sha256, f"it is larger than {self._artifact.size_bytes} bytes")
        self._file.write(chunk)
        self._hash.update(chunk)

    def check(self) -> None:
        if self._hash.hexdigest() != self._artifact.sha256:
            raise errors.artifact_corrupt(self._artifact.sha256, f"its SHA-256 is {self._hash.hexdigest()}")

    def close(self) -> None:
        self._file.close()
