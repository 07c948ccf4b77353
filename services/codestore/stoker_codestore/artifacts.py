"""What is known of artifacts, in the database: which there are, and whose."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from stoker_artifacts import Contents, Format

from stoker_codestore import errors
from stoker_codestore.database import Database, in_utc, now
from stoker_codestore.tables import ArtifactRow, ContentRow


@dataclass(frozen=True, slots=True)
class Artifact:
    """Code that a tenant has uploaded."""

    sha256: str
    size_bytes: int
    contents: Contents
    create_time: datetime
    """When this tenant first uploaded it."""


class Artifacts:
    """The artifacts of all tenants. A tenant has only those that it has uploaded itself, whoever else has them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant: str, sha256: str, size_bytes: int, contents: Contents) -> Artifact:
        """Makes an artifact known that is stored and checked; one that the tenant has already stays as it is.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        content = ContentRow(
            sha256=sha256,
            format=contents.format.value,
            size_bytes=size_bytes,
            unpacked_size_bytes=contents.unpacked_size_bytes,
            file_count=contents.file_count,
        )
        await self._add_once(ContentRow, sha256, content)
        owned = ArtifactRow(tenant=tenant, sha256=sha256, create_time=now())
        await self._add_once(ArtifactRow, (tenant, sha256), owned)
        return await self.get(tenant, sha256)

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
            found = (await session.execute(query)).one_or_none()
        if found is None:
            raise errors.artifact_not_found(sha256)
        return _artifact(found)

    async def _add_once(
        self, table: type[ContentRow | ArtifactRow], key: object, row: ContentRow | ArtifactRow
    ) -> None:
        try:
            async with self._database.transaction() as session:
                if await session.get(table, key) is None:
                    session.add(row)
        except IntegrityError:
            # The same was uploaded at the same time, and that upload has made the row.
            return


async def has_artifact(session: AsyncSession, tenant: str, sha256: str) -> bool:
    """Whether a tenant has an artifact."""
    return await session.get(ArtifactRow, (tenant, sha256)) is not None


def _artifact(found: Row[ContentRow, datetime]) -> Artifact:
    content, create_time = found
    contents = Contents(Format(content.format), content.unpacked_size_bytes, content.file_count)
    return Artifact(content.sha256, content.size_bytes, contents, in_utc(create_time))
