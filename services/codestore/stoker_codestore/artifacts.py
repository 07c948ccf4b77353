"""What is known of artifacts, in the database: which there are, and whose.

Contents are swept when nobody has them any more (`artifact_sweep.py`), at any moment, also of an upload. So an upload
reserves a content before it looks whether the store has it, and finds out at its end whether the reservation still
holds. Rows are locked in one order everywhere: function, tenant's policy, content, artifact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from stoker_artifacts import Contents, Format

from stoker_codestore import errors
from stoker_codestore.database import Database, in_utc, now
from stoker_codestore.doomed_objects import doom
from stoker_codestore.object_store import new_key
from stoker_codestore.quotas import Quotas, usage_of
from stoker_codestore.tables import ArtifactRow, ContentRow


@dataclass(frozen=True, slots=True)
class Artifact:
    """Code that a tenant has uploaded."""

    sha256: str
    size_bytes: int
    contents: Contents
    create_time: datetime
    """When this tenant first uploaded it."""
    object_key: str
    """What the store calls it."""


class Artifacts:
    """The artifacts of all tenants. A tenant has only those that it has uploaded itself, whoever else has them."""

    def __init__(self, database: Database, quotas: Quotas, clock: Callable[[], datetime] = now) -> None:
        self._database = database
        self._quotas = quotas
        self._clock = clock

    async def check_room(self, tenant: str, sha256: str, size_bytes: int) -> None:
        """Returns if the tenant may store an artifact, as things stand; another upload may be quicker.

        Raises:
            StokerError: QUOTA_EXCEEDED, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            quota = await self._quotas.of(session, tenant)
            if await session.get(ArtifactRow, (tenant, sha256)) is None:
                quota.check_artifact(tenant, await usage_of(session, tenant), size_bytes)

    async def reserve(self, sha256: str, size_bytes: int, contents: Contents) -> str:
        """The key that a content has in the store, or is to have there. It is not swept for a while.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        try:
            return await self._reserve(sha256, size_bytes, contents)
        except IntegrityError:
            # The same is uploaded at the same time, and that upload has made the row.
            return await self._reserve(sha256, size_bytes, contents)

    async def _reserve(self, sha256: str, size_bytes: int, contents: Contents) -> str:
        async with self._database.transaction() as session:
            row = await session.get(ContentRow, sha256, with_for_update=True)
            if row is None:
                row = ContentRow(
                    sha256=sha256,
                    format=contents.format.value,
                    size_bytes=size_bytes,
                    unpacked_size_bytes=contents.unpacked_size_bytes,
                    file_count=contents.file_count,
                    object_key=new_key(sha256),
                    unused_since=self._clock(),
                )
                session.add(row)
            elif row.unused_since is not None:
                row.unused_since = self._clock()
        return row.object_key

    async def add(self, tenant: str, sha256: str, object_key: str) -> Artifact | None:
        """Makes an artifact known that is stored and checked; one that the tenant has already stays as it is.

        Args:
            tenant: Whose it is.
            sha256: Its content.
            object_key: Where it is stored, as `reserve` said.

        Returns:
            The artifact; None where the content has been swept since, and is to be reserved and stored again.

        Raises:
            StokerError: QUOTA_EXCEEDED, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            quota = await self._quotas.lock(session, tenant)
            content = await session.get(ContentRow, sha256, with_for_update=True)
            if content is None or content.object_key != object_key:
                # It may have been written after it was swept.
                await doom(session, [object_key], self._clock())
                return None
            row = await session.get(ArtifactRow, (tenant, sha256), with_for_update=True)
            if row is None:
                quota.check_artifact(tenant, await usage_of(session, tenant), content.size_bytes)
                row = ArtifactRow(tenant=tenant, sha256=sha256, create_time=self._clock())
                row.unused_since = self._clock()
                session.add(row)
            elif row.unused_since is not None:
                row.unused_since = self._clock()
            content.unused_since = None
            return _artifact(content, row.create_time)

    async def get(self, tenant: str, sha256: str) -> Artifact:
        """Returns an artifact.

        Raises:
            StokerError: ARTIFACT_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        query = (
            select(ContentRow, ArtifactRow.create_time)
            .join(ArtifactRow, ArtifactRow.sha256 == ContentRow.sha256)
            .where(ArtifactRow.tenant == tenant, ArtifactRow.sha256 == sha256)
        )
        async with self._database.transaction() as session:
            found: Row[ContentRow, datetime] | None = (await session.execute(query)).one_or_none()
        if found is None:
            raise errors.artifact_not_found(sha256)
        return _artifact(*found)

    async def look_up(self, tenant: str, sha256: str) -> Artifact:
        """Returns an artifact to a client, who may be about to publish it: so it is kept for a while from now on.

        Raises:
            StokerError: ARTIFACT_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            row = await session.get(ArtifactRow, (tenant, sha256), with_for_update=True)
            if row is not None and row.unused_since is not None:
                row.unused_since = self._clock()
        return await self.get(tenant, sha256)


async def use_artifacts(session: AsyncSession, tenant: str, digests: Sequence[str]) -> str | None:
    """Keeps a tenant's artifacts from being swept, for a version that the transaction makes.

    Returns:
        One that the tenant does not have; None where it has all.
    """
    # In one order, so that two publishers do not wait for each other; contents first, as everywhere.
    wanted = sorted(set(digests))
    await session.execute(
        select(ContentRow.sha256)
        .where(ContentRow.sha256.in_(wanted))
        .order_by(ContentRow.sha256)
        .with_for_update(read=True, key_share=True)
    )
    rows = await session.scalars(
        select(ArtifactRow)
        .where(ArtifactRow.tenant == tenant, ArtifactRow.sha256.in_(wanted))
        .order_by(ArtifactRow.sha256)
        .with_for_update()
    )
    found: set[str] = set()
    for row in rows:
        row.unused_since = None
        found.add(row.sha256)
    return next((digest for digest in digests if digest not in found), None)


def _artifact(content: ContentRow, create_time: datetime) -> Artifact:
    contents = Contents(Format(content.format), content.unpacked_size_bytes, content.file_count)
    return Artifact(content.sha256, content.size_bytes, contents, in_utc(create_time), content.object_key)
