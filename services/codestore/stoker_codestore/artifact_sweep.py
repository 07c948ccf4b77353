"""What nobody needs any more is deleted: artifacts, contents, manifests, chunks, and at last their objects.

In two phases, so that whoever is about to need something has time to say so. What is found unused is marked with the
time; what is marked for long enough is looked at again, in one transaction that locks it, and deleted if it is still
unused. Uploads and publishing lock the same rows in the same order and take the mark away, so one of both comes first
and the other sees what it did.

Objects are not part of transactions. So they are only written down in the one that deletes the last row which names
them, and deleted a grace period later: readers that have begun come to their end, and an upload that stood still while
its content was swept writes nothing that stays. As no key is ever used twice, a deletion may come as late as it likes
and as often, from any codestore; one that is killed has at most left something for the next sweep.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from stoker_codestore.database import Database, now
from stoker_codestore.doomed_objects import claim, doom, forget
from stoker_codestore.object_store import ArtifactStore
from stoker_codestore.tables import (
    ArtifactChunkRow,
    ArtifactRow,
    ChunkRow,
    ContentRow,
    FunctionRow,
    LayerRow,
    LayerVersionRow,
    ManifestRow,
    VersionRow,
)

log = structlog.get_logger()

AT_ONCE = 200
"""How many things of a kind one sweep deletes at the most, so that it never occupies the database for long."""

# Layers of versions need not be looked at: a layer's version is there as long as a version of a function has it.
_HAS_VERSION = or_(
    exists().where(
        VersionRow.artifact_sha256 == ArtifactRow.sha256,
        VersionRow.function_uid == FunctionRow.uid,
        FunctionRow.tenant == ArtifactRow.tenant,
    ),
    exists().where(
        LayerVersionRow.artifact_sha256 == ArtifactRow.sha256,
        LayerVersionRow.layer_uid == LayerRow.uid,
        LayerRow.tenant == ArtifactRow.tenant,
    ),
)
_HAS_ARTIFACT = exists().where(ArtifactRow.sha256 == ContentRow.sha256)
_IS_NEEDED = exists().where(ArtifactChunkRow.chunk_sha256 == ChunkRow.sha256)


class ArtifactSweep:
    """Marks and deletes."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        *,
        artifacts_kept: timedelta,
        grace: timedelta,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Begins with nothing marked by itself.

        Args:
            database: Where things are known.
            store: Where their bytes are.
            artifacts_kept: How long an artifact is kept that no version has.
            grace: How long a content is kept that no tenant has, and an object that nothing names.
            clock: Tells the time.
        """
        self._database = database
        self._store = store
        self._artifacts_kept = artifacts_kept
        self._grace = grace
        self._clock = clock

    async def sweep(self) -> bool:
        """Marks what is unused, and deletes what has been for long enough.

        Returns:
            Whether more is left to be deleted than one sweep deletes.

        Raises:
            StokerError: DATABASE_UNAVAILABLE, or ARTIFACT_STORE_UNAVAILABLE.
        """
        await self._mark()
        artifacts = await self._sweep_artifacts()
        contents = await self._sweep_contents()
        chunks = await self._sweep_chunks()
        objects = await self._delete_objects()
        swept = (artifacts, contents, chunks, objects)
        if any(swept):
            log.info("artifacts.swept", artifacts=artifacts, contents=contents, chunks=chunks, objects=objects)
        return max(swept) >= AT_ONCE

    async def _mark(self) -> None:
        """Marks what has fallen out of use, and takes marks away that came too late to be seen."""
        key = tuple_(ArtifactRow.tenant, ArtifactRow.sha256)
        for is_used, mark in ((_HAS_VERSION, None), (~_HAS_VERSION, self._clock())):
            marked = ArtifactRow.unused_since.is_not(None) if mark is None else ArtifactRow.unused_since.is_(None)
            which = select(ArtifactRow.tenant, ArtifactRow.sha256).where(marked, is_used).limit(AT_ONCE)
            async with self._database.transaction() as session:
                found = [tuple(row) for row in await session.execute(which)]
                if found:
                    await session.execute(update(ArtifactRow).where(key.in_(found), marked).values(unused_since=mark))

    async def _sweep_artifacts(self) -> int:
        query = (
            select(ArtifactRow.tenant, ArtifactRow.sha256)
            .where(ArtifactRow.unused_since <= self._clock() - self._artifacts_kept, ~_HAS_VERSION)
            .limit(AT_ONCE)
        )
        async with self._database.transaction() as session:
            found = (await session.execute(query)).all()
        swept = [await self._sweep_artifact(tenant, sha256) for tenant, sha256 in found]
        return sum(swept)

    async def _sweep_artifact(self, tenant: str, sha256: str) -> bool:
        at = self._clock()
        async with self._database.transaction() as session:
            content = await session.get(ContentRow, sha256, with_for_update=True)
            artifact = await session.get(ArtifactRow, (tenant, sha256), with_for_update=True)
            if content is None or artifact is None:
                return False
            this = and_(ArtifactRow.tenant == tenant, ArtifactRow.sha256 == sha256)
            still = select(ArtifactRow.sha256).where(
                this, ArtifactRow.unused_since <= at - self._artifacts_kept, ~_HAS_VERSION
            )
            if await session.scalar(still) is None:
                return False
            await session.execute(delete(ArtifactRow).where(this))
            if await session.scalar(select(_HAS_ARTIFACT).where(ContentRow.sha256 == sha256)) is False:
                content.unused_since = at
        log.info("artifact.swept", tenant=tenant, sha256=sha256)
        return True

    async def _sweep_contents(self) -> int:
        due = and_(ContentRow.unused_since <= self._clock() - self._grace, ~_HAS_ARTIFACT)
        async with self._database.transaction() as session:
            found = list(await session.scalars(select(ContentRow.sha256).where(due).limit(AT_ONCE)))
        swept = 0
        for sha256 in found:
            try:
                swept += await self._sweep_content(sha256, due)
            except IntegrityError as error:
                # Not to be: something names it beside artifacts. The database has kept both.
                log.error("artifact.not_swept", sha256=sha256, exc_info=error)
        return swept

    async def _sweep_content(self, sha256: str, due: ColumnElement[bool]) -> bool:
        async with self._database.transaction() as session:
            await session.get(ContentRow, sha256, with_for_update=True)
            key = await session.scalar(select(ContentRow.object_key).where(ContentRow.sha256 == sha256, due))
            if key is None:
                return False
            manifests = ManifestRow.artifact_sha256 == sha256
            manifest_keys = list(await session.scalars(select(ManifestRow.object_key).where(manifests)))
            await session.execute(delete(ManifestRow).where(manifests))
            await session.execute(delete(ArtifactChunkRow).where(ArtifactChunkRow.artifact_sha256 == sha256))
            await session.execute(delete(ContentRow).where(ContentRow.sha256 == sha256))
            await doom(session, [key, *manifest_keys], self._clock())
        return True

    async def _sweep_chunks(self) -> int:
        async with self._database.transaction() as session:
            # Those that others are about to need are left to them, without waiting.
            query = select(ChunkRow.sha256).where(~_IS_NEEDED).limit(AT_ONCE).with_for_update(skip_locked=True)
            found = list(await session.scalars(query))
            # Asked again: now nobody can come to need them before this transaction ends.
            unneeded = select(ChunkRow).where(ChunkRow.sha256.in_(found), ~_IS_NEEDED)
            going = (await session.scalars(unneeded)).all() if found else ()
            for chunk in going:
                await session.delete(chunk)
            await doom(session, [chunk.object_key for chunk in going], self._clock())
        return len(going)

    async def _delete_objects(self) -> int:
        async with self._database.transaction() as session:
            keys = await claim(session, self._clock() - self._grace, AT_ONCE)
        for key in keys:
            await self._store.delete(key)
        async with self._database.transaction() as session:
            await forget(session, keys)
        return len(keys)
