"""What hosts should have, by what the database says."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, or_, select

from stoker_codestore.database import Database, now
from stoker_codestore.distribution import ArtifactKey
from stoker_codestore.layers import layers_of
from stoker_codestore.tables import AliasRow, FunctionRow, VersionRow

RECENT = timedelta(hours=1)
"""For how long after its publishing a host that comes up gets a version, whosever it is."""
MAX_FOR_HOST = 64
"""How many artifacts a host that comes up is told to fetch; the newest. Others it fetches when they are needed."""


@dataclass(frozen=True, slots=True)
class Published:
    """A version that hosts should have."""

    artifacts: tuple[ArtifactKey, ...]
    """Its code, then its layers."""
    memory_mib: int


class DeliveryTargets:
    """What hosts should have."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_function(self, tenant: str, function: str) -> list[Published]:
        """A function's newest version, and those that its aliases name; nothing of one that is gone.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            uid = await session.scalar(
                select(FunctionRow.uid).where(FunctionRow.tenant == tenant, FunctionRow.name == function)
            )
            if uid is None:
                return []
            newest = await session.scalar(
                select(VersionRow).where(VersionRow.function_uid == uid).order_by(VersionRow.number.desc()).limit(1)
            )
            named = await session.scalars(select(VersionRow).join(AliasRow, _NAMES).where(AliasRow.function_uid == uid))
            rows = {row.uid: row for row in [*([newest] if newest else []), *named]}
        return [Published(_artifacts(tenant, row), row.memory_mib) for row in rows.values()]

    async def artifacts_of_function(self, tenant: str, function: str) -> Collection[ArtifactKey]:
        """The code of all of a function's versions, without layers, which others may have too.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        query = (
            select(VersionRow.artifact_sha256)
            .join(FunctionRow, FunctionRow.uid == VersionRow.function_uid)
            .where(FunctionRow.tenant == tenant, FunctionRow.name == function)
        )
        async with self._database.transaction() as session:
            return {ArtifactKey(tenant, sha256) for sha256 in await session.scalars(query)}

    async def of_host(self, tenants: Collection[str]) -> list[ArtifactKey]:
        """What a host should have: what aliases of its tenants name, and what was published recently.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        of_function = FunctionRow.uid == VersionRow.function_uid
        named = (
            select(FunctionRow.tenant, VersionRow)
            .join(FunctionRow, of_function)
            .join(AliasRow, _NAMES)
            .where(FunctionRow.tenant.in_(tenants))
        )
        recent = (
            select(FunctionRow.tenant, VersionRow)
            .join(FunctionRow, of_function)
            .where(VersionRow.create_time > now() - RECENT)
        )
        found: dict[ArtifactKey, None] = {}
        async with self._database.transaction() as session:
            for query in (named, recent):
                newest = query.order_by(VersionRow.create_time.desc()).limit(MAX_FOR_HOST)
                for tenant, row in await session.execute(newest):
                    found.update(dict.fromkeys(_artifacts(tenant, row)))
        return list(found)[:MAX_FOR_HOST]


_NAMES = and_(
    AliasRow.function_uid == VersionRow.function_uid,
    or_(AliasRow.version == VersionRow.number, AliasRow.second_version == VersionRow.number),
)
"""That an alias names a version."""


def _artifacts(tenant: str, row: VersionRow) -> tuple[ArtifactKey, ...]:
    if row.require_signed and not (row.signature and row.signing_key):
        # No host would load it, so none is to have it where VMs see it.
        return ()
    layers = (layer.artifact_sha256 for layer in layers_of(row.layers))
    return tuple(ArtifactKey(tenant, sha256) for sha256 in (row.artifact_sha256, *layers))
