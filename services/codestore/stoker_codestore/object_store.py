"""Where artifacts' bytes are: a directory, or an object store of a cloud or one's own, by obstore.

A key names one content for ever, so writing it again changes nothing, and is in the database before, so that nothing is
stored that nobody knows of. Large ones are written in parts. Of one that breaks off, a directory is rid at the next
start; a bucket needs a lifecycle rule that aborts incomplete multipart uploads.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from stoker_codestore import errors
from stoker_codestore.shared_directory import sharing
from stoker_codestore.threads import run_to_end

if TYPE_CHECKING:
    from obstore.store import RetryConfig  # which exists only for type checkers

log = structlog.get_logger()

CHUNK_BYTES = 1024 * 1024
"""The most that is given out at once, in bytes."""
PART_BYTES = 5 * 1024 * 1024
"""What is written at once, in bytes: the least that S3 takes."""
PARTS_AT_ONCE = 2
ANSWER_S = 30.0
"""How long the store may take to answer, or to give the next bytes, in seconds."""
WRITE_S = 300.0
"""How long it may take to write one artifact, in seconds."""

_RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=ANSWER_S)}
_FAILURES = (BaseError, OSError, TimeoutError)


class StoreUnusable(Exception):
    """The URL of the store names nothing that can be used."""


class ArtifactStore:
    """The bytes of all artifacts."""

    def __init__(self, store: ObjectStore, directory: Path | None) -> None:
        """Uses a store, which is in `directory` if it is on this machine."""
        self._store = store
        self._directory = directory

    async def holds(self, key: str, size_bytes: int) -> bool:
        """Whether a content of that size is there, whole.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return False
        except _FAILURES as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error
        return found["size"] == size_bytes

    async def write(self, key: str, file: BinaryIO) -> None:
        """Writes a content, from the file's beginning. It is there whole afterwards, or not at all.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE.
        """
        try:
            async with asyncio.timeout(WRITE_S):
                await run_to_end(file.seek, 0)
                await obstore.put_async(self._store, key, file, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
                if self._directory is not None:
                    await run_to_end(_sync, self._directory / key, self._directory)
        except _FAILURES as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error

    async def read(self, key: str) -> AsyncGenerator[bytes]:
        """Yields a content, at most 1 MiB at once.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE, or ARTIFACT_LOST.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await obstore.get_async(self._store, key)
            blocks = aiter(found.stream(min_chunk_size=CHUNK_BYTES))
            while True:
                async with asyncio.timeout(ANSWER_S):
                    block = await anext(blocks, b"")
                if not block:
                    return
                # A store may give more than it was asked for.
                for begin in range(0, len(block), CHUNK_BYTES):
                    yield bytes(block[begin : begin + CHUNK_BYTES])
        except FileNotFoundError as error:
            log.error("artifact_store.lost", key=key)
            raise errors.artifact_lost(_sha256_in(key)) from error
        except _FAILURES as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error

    async def delete(self, key: str) -> None:
        """Deletes a content. One that is not there is no error.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except _FAILURES as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error

    def put(self, key: str, data: bytes) -> None:
        """Writes a small object. It is to last when `settle` has returned. It blocks.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE.
        """
        try:
            obstore.put(self._store, key, data, use_multipart=False)
            if self._directory is not None:
                _sync_one(self._directory / key)
        except _FAILURES as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error

    def settle(self, keys: Sequence[str]) -> None:
        """Sees to it that objects written by `put` last. It blocks.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE.
        """
        if self._directory is None:
            return
        root = self._directory
        parents = {parent for key in keys for parent in Path(key).parents}
        try:
            # The deepest first, so that what a directory names is there before it is.
            for parent in sorted(parents, key=lambda parent: -len(parent.parts)):
                _sync_one(root / parent)
        except OSError as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error

    async def get(self, key: str) -> bytes | None:
        """A small object; None where there is none.

        Raises:
            StokerError: ARTIFACT_STORE_UNAVAILABLE.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await obstore.get_async(self._store, key)
                return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            log.error("artifact_store.failed", exc_info=error)
            raise errors.store_unavailable() from error


@contextmanager
def opened_store(url: str) -> Generator[ArtifactStore]:
    """Opens the store that a URL names, while the context is entered.

    A directory is made, and what crashes have left half-written there is removed.

    Raises:
        StoreUnusable: The URL is none, or the directory cannot be made.
    """
    with ExitStack() as held:
        try:
            store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url, retry_config=_RETRIES)
            if isinstance(store, MemoryStore):
                raise ValueError("what is in memory is lost")
            directory = store.prefix if isinstance(store, LocalStore) else None
            if directory is not None:
                # What obstore is writing is called `<key>#<number>`.
                held.enter_context(sharing(directory, "**/*#*"))
        except (BaseError, ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise StoreUnusable(f"cannot keep artifacts in {url}: {reason}") from error
        yield ArtifactStore(store, directory)


def new_key(sha256: str) -> str:
    """A key for a content that has none; no other call gives it."""
    # The first digits spread contents over directories.
    return f"{sha256[:2]}/{sha256}-{uuid.uuid4().hex[:16]}"


def _sha256_in(key: str) -> str:
    return key.rpartition("/")[2].partition("-")[0]


def _sync(path: Path, root: Path) -> None:
    """Brings a file, and the directories that name it, to the disk: obstore leaves that to the kernel."""
    while True:
        _sync_one(path)
        if path == root:
            return
        path = path.parent


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
