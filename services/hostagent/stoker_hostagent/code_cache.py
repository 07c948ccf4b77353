"""Unpacked code on this host's disk, as the guests of its tenants see it: `code/<tenant>/<sha256>/`.

The disk is the only record, so a restart forgets nothing: an artifact's directory appears whole by a rename, and its
modification time says when it was last used. What a container uses is never removed.
"""

import asyncio
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent import errors
from stoker_hostagent.artifact import Artifact
from stoker_hostagent.chunk_store import ChunkStore
from stoker_hostagent.code_checks import CodeChecks
from stoker_hostagent.code_source import ON_DEMAND, CodeSource, Way
from stoker_hostagent.codestore import Found
from stoker_hostagent.names import check_name

log = structlog.get_logger()

BLOCK_BYTES = 4096
"""What each file takes on disk beyond its content, at the most, where it has not been measured."""
_SHA256 = re.compile("[0-9a-f]{64}")


class CacheListener(Protocol):
    """Told of what comes and goes."""

    def code_added(self, artifact: Artifact) -> None:
        """Code is there, verified."""
        ...

    def code_removed(self, artifact: Artifact) -> None:
        """Code is there no more."""
        ...


@dataclass(slots=True)
class _Entry:
    size_bytes: int
    users: set[str] = field(default_factory=set[str])


class CodeCache:
    """The cache. Once it is full, what was used least recently goes first."""

    def __init__(
        self,
        state_dir: Path,
        source: CodeSource,
        chunks: ChunkStore,
        background: Background,
        *,
        max_bytes: int,
        max_fetches: int,
    ) -> None:
        """Begins empty; `open` finds what is on the disk.

        Args:
            state_dir: Holds `code/`, which guests see, `manifests/`, and `incoming/`, where things are made and unmade.
            source: Where code comes from.
            chunks: What it is made of.
            background: What owns the fetches.
            max_bytes: How large all unpacked code may get on disk.
            max_fetches: How many artifacts are fetched at once.
        """
        self._code = state_dir / "code"
        self._incoming = state_dir / "incoming"
        self._source = source
        self._chunks = chunks
        self._background = background
        self._max_bytes = max_bytes
        self._gate = asyncio.Semaphore(max_fetches)
        self._checks = CodeChecks(state_dir / "manifests")
        self._listener: CacheListener | None = None
        # In the order of their last use.
        self._entries: dict[Artifact, _Entry] = {}
        self._users: dict[str, Artifact] = {}
        self._flights: dict[Artifact, asyncio.Future[None]] = {}
        """What is being looked at or fetched."""
        self._used_bytes = 0
        """On disk, with what is being unpacked."""

    def listen(self, listener: CacheListener) -> None:
        """Has what comes and goes told from now on."""
        self._listener = listener

    def all(self) -> Collection[Artifact]:
        """What is there."""
        return self._entries.keys()

    async def open(self) -> None:
        """Finds what an earlier run left: whole things are kept, half-made ones removed."""
        for artifact, size_bytes in await asyncio.to_thread(_find, self._code, self._incoming):
            self._entries[artifact] = _Entry(size_bytes)
            self._used_bytes += size_bytes
        log.info("code_cache.opened", artifacts=len(self._entries), bytes=self._used_bytes)

    def use(self, user: str, artifact: Artifact) -> None:
        """Keeps code in the cache, if it is there, until `user` is done with it."""
        self._users[user] = artifact
        if entry := self._touch(artifact):
            entry.users.add(user)

    async def hold(self, user: str, artifact: Artifact) -> None:
        """Brings code into the cache, and keeps it there until `user` is done with it.

        Code that is there is looked at first; if it has changed on the disk it is thrown away and fetched again.
        However many ask for an artifact, it is fetched once; who is cancelled leaves the fetch to the others.

        Raises:
            StokerError: CODE_CACHE_FULL, ARTIFACT_CORRUPT, ARTIFACT_FETCH_TIMEOUT, or the codestore's.
        """
        check_name("tenant", artifact.tenant)
        self.use(user, artifact)
        try:
            if (flight := self._flights.get(artifact)) is not None:
                # It may be a delivery that asks one host alone; whatever becomes of it, the code is needed here.
                with suppress(StokerError):
                    await asyncio.shield(flight)
            await asyncio.shield(self._flights.get(artifact) or self._start(artifact, ON_DEMAND))
        except BaseException:
            self.release(user)
            raise

    async def bring(self, artifact: Artifact, way: Way) -> None:
        """Brings code into the cache before anybody needs it.

        Raises:
            StokerError: As `hold`.
        """
        check_name("tenant", artifact.tenant)
        await asyncio.shield(self._flights.get(artifact) or self._start(artifact, way))

    def release(self, user: str) -> None:
        """Says that a user is done with its code. An unknown user is no error."""
        artifact = self._users.pop(user, None)
        if artifact is not None and (entry := self._touch(artifact)):
            entry.users.discard(user)

    def _touch(self, artifact: Artifact) -> _Entry | None:
        entry = self._entries.pop(artifact, None)
        if entry is None:
            return None
        try:
            os.utime(self._path(artifact))
        except FileNotFoundError:
            # Somebody removed it by hand; it is fetched again when it is asked for.
            self._used_bytes -= entry.size_bytes
            return None
        self._entries[artifact] = entry
        return entry

    def _path(self, artifact: Artifact) -> Path:
        return self._code / artifact.tenant / artifact.sha256

    def _start(self, artifact: Artifact, way: Way) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting any more when it fails; that is no fault.
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._flights[artifact] = done
        self._background.start(self._fly(artifact, way, done), f"see to artifact {artifact.sha256}")
        return done

    async def _fly(self, artifact: Artifact, way: Way, done: asyncio.Future[None]) -> None:
        try:
            if not await self._is_intact(artifact):
                async with self._gate:
                    await self._fetch(artifact, way)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
            done.set_exception(error)
        else:
            done.set_result(None)
        finally:
            done.cancel()
            del self._flights[artifact]

    async def _is_intact(self, artifact: Artifact) -> bool:
        """Whether code is there and unchanged. What has changed is thrown away, also from under those who use it."""
        if artifact not in self._entries:
            return False
        path = self._path(artifact)
        change = await asyncio.to_thread(self._checks.change_of, artifact.tenant, artifact.sha256, path)
        if not change:
            return True
        log.error("code_cache.changed", tenant=artifact.tenant, sha256=artifact.sha256, message=change)
        if artifact in self._entries:
            await self._remove([self._take_out(artifact)])
        return False

    async def _fetch(self, artifact: Artifact, way: Way) -> None:
        work = self._incoming / uuid.uuid4().hex
        await asyncio.to_thread(work.mkdir, parents=True)
        try:
            found = await self._source.find(artifact)
            with self._chunks.pinned(found.manifest.chunks):
                await self._source.fetch(artifact, found, way)
                await self._make(artifact, found, work / "code")
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    async def _make(self, artifact: Artifact, found: Found, unpacked: Path) -> None:
        manifest = found.manifest
        room_bytes = manifest.unpacked_size_bytes + BLOCK_BYTES * (len(manifest.entries) + 1)
        await self._make_room(room_bytes)
        try:
            await self._source.make(artifact, found, unpacked)
            size_bytes = await asyncio.to_thread(self._place, artifact, found, unpacked)
        finally:
            self._used_bytes -= room_bytes
        self._used_bytes += size_bytes
        users = {user for user, used in self._users.items() if used == artifact}
        self._entries[artifact] = _Entry(size_bytes, users)
        log.info("code_cache.added", tenant=artifact.tenant, sha256=artifact.sha256, bytes=size_bytes)
        if self._listener is not None:
            self._listener.code_added(artifact)

    def _place(self, artifact: Artifact, found: Found, unpacked: Path) -> int:
        """Moves code to its place, and returns what it takes on disk. It blocks."""
        target = self._path(artifact)
        size_bytes = size_on_disk(unpacked)
        os.utime(unpacked)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        unpacked.rename(target)
        self._checks.keep(artifact.tenant, artifact.sha256, found.packed, target)
        return size_bytes

    async def _make_room(self, needed_bytes: int) -> None:
        """Reserves room, for which others may have to go."""
        self._used_bytes += needed_bytes
        removed = [self._take_out(artifact) for artifact in self._superfluous()]
        if self._used_bytes > self._max_bytes:
            self._used_bytes -= needed_bytes
            full = errors.code_cache_full(needed_bytes, self._max_bytes)
        else:
            full = None
        await self._remove(removed)
        if full is not None:
            raise full

    def _superfluous(self) -> list[Artifact]:
        """What has to go, least recently used first; nothing where that would not be enough."""
        excess_bytes = self._used_bytes - self._max_bytes
        found: list[Artifact] = []
        for artifact, entry in self._entries.items():
            if excess_bytes <= 0:
                break
            if not entry.users:
                found.append(artifact)
                excess_bytes -= entry.size_bytes
        return found if excess_bytes <= 0 else []

    def _take_out(self, artifact: Artifact) -> tuple[Artifact, Path]:
        """Takes code out of the guests' sight, to a place where it can be removed at leisure."""
        self._used_bytes -= self._entries.pop(artifact).size_bytes
        path = self._incoming / uuid.uuid4().hex
        with suppress(FileNotFoundError):  # somebody removed it by hand
            self._path(artifact).rename(path)
        log.info("code_cache.removed", tenant=artifact.tenant, sha256=artifact.sha256)
        if self._listener is not None:
            self._listener.code_removed(artifact)
        return artifact, path

    async def _remove(self, taken_out: Iterable[tuple[Artifact, Path]]) -> None:
        for artifact, path in taken_out:
            code = self._path(artifact)
            await asyncio.to_thread(self._checks.forget, artifact.tenant, artifact.sha256, code)
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def _find(code: Path, incoming: Path) -> list[tuple[Artifact, int]]:
    """The artifacts below `code` with their sizes on disk, least recently used first; makes and clears both places."""
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    code.mkdir(parents=True, exist_ok=True)
    found: list[tuple[float, Artifact, int]] = []
    for path in code.glob("*/*"):
        if _SHA256.fullmatch(path.name) and path.is_dir():
            artifact = Artifact(path.parent.name, path.name)
            found.append((path.stat().st_mtime, artifact, size_on_disk(path)))
    found.sort(key=lambda one: one[0])
    return [(artifact, size_bytes) for _, artifact, size_bytes in found]


def size_on_disk(directory: Path) -> int:
    """What a directory takes on disk with all that is in it, in bytes."""
    return sum(path.lstat().st_blocks for path in _all_below(directory)) * 512


def _all_below(directory: Path) -> Iterable[Path]:
    yield directory
    yield from directory.rglob("*")
