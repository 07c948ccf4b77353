"""How much tenants may store.

Quotas are kept and enforced here, though the frontend owns tenants: they are checked in the very transactions that add
what they limit. Usage is counted, not kept, so that it cannot drift.
"""

from dataclasses import dataclass, fields

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore import errors
from stoker_codestore.tables import ArtifactRow, ContentRow, FunctionRow, TenantPolicyRow, VersionRow


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant has stored."""

    artifacts: int
    total_bytes: int
    """Of all artifacts, packed; what other tenants have as well is counted for each."""
    functions: int
    versions: int


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a tenant may store. Where something is set for one tenant, 0 stands for the default."""

    max_artifact_bytes: int = 0
    max_artifacts: int = 0
    max_total_bytes: int = 0
    max_functions: int = 0
    max_versions: int = 0

    def or_else(self, defaults: "Quota") -> "Quota":
        """This quota, with the defaults where it says nothing."""
        return Quota(**{each.name: getattr(self, each.name) or getattr(defaults, each.name) for each in fields(self)})

    def check_artifact(self, tenant: str, usage: Usage, size_bytes: int) -> None:
        """Returns if one more artifact of that size may be added.

        Raises:
            StokerError: QUOTA_EXCEEDED.
        """
        if size_bytes > self.max_artifact_bytes:
            raise errors.quota_exceeded(
                tenant,
                "max_artifact_bytes",
                f"header.size_bytes: an artifact may have {self.max_artifact_bytes} bytes, and this one has "
                f"{size_bytes}; leave out what the function does not need",
            )
        if usage.artifacts >= self.max_artifacts:
            raise errors.quota_exceeded(
                tenant, "max_artifacts", f"{self.max_artifacts} artifacts are stored, and no more may be; {_LESS_CODE}"
            )
        if usage.total_bytes + size_bytes > self.max_total_bytes:
            raise errors.quota_exceeded(
                tenant,
                "max_total_bytes",
                f"artifacts may have {self.max_total_bytes} bytes together, and with this one they would have "
                f"{usage.total_bytes + size_bytes}; {_LESS_CODE}",
            )

    def check_function(self, tenant: str, usage: Usage) -> None:
        """Returns if one more function may be made.

        Raises:
            StokerError: QUOTA_EXCEEDED.
        """
        if usage.functions >= self.max_functions:
            raise errors.quota_exceeded(
                tenant, "max_functions", f"there are {usage.functions} functions, and no more may be; delete some"
            )

    def check_version(self, tenant: str, usage: Usage) -> None:
        """Returns if one more version may be published.

        Raises:
            StokerError: QUOTA_EXCEEDED.
        """
        if usage.versions >= self.max_versions:
            raise errors.quota_exceeded(
                tenant,
                "max_versions",
                f"there are {usage.versions} versions, and no more may be; delete some, or have fewer kept "
                "(`stoker update NAME --versions-kept N`)",
            )


_LESS_CODE = "delete versions that are not needed any more; their artifacts follow within a day unless set otherwise"


class Quotas:
    """The quotas of all tenants."""

    def __init__(self, defaults: Quota) -> None:
        """Takes what counts for tenants of which nothing is said."""
        self._defaults = defaults

    async def of(self, session: AsyncSession, tenant: str) -> Quota:
        """What counts for a tenant."""
        row = await session.get(TenantPolicyRow, tenant)
        return quota_of(row).or_else(self._defaults)

    async def lock(self, session: AsyncSession, tenant: str) -> Quota:
        """What counts for a tenant, for which nobody else adds anything until the transaction ends."""
        await _ensure_row(session, tenant)
        row = await session.get(TenantPolicyRow, tenant, with_for_update=True, populate_existing=True)
        return quota_of(row).or_else(self._defaults)


async def usage_of(session: AsyncSession, tenant: str) -> Usage:
    """What a tenant has stored."""
    artifacts, total_bytes = (
        await session.execute(
            select(func.count(), func.coalesce(func.sum(ContentRow.size_bytes), 0))
            .select_from(ArtifactRow)
            .join(ContentRow, ContentRow.sha256 == ArtifactRow.sha256)
            .where(ArtifactRow.tenant == tenant)
        )
    ).one()
    functions = select(func.count()).select_from(FunctionRow).where(FunctionRow.tenant == tenant)
    versions = (
        select(func.count())
        .select_from(VersionRow)
        .join(FunctionRow, FunctionRow.uid == VersionRow.function_uid)
        .where(FunctionRow.tenant == tenant)
    )
    return Usage(
        artifacts,
        int(total_bytes),
        (await session.execute(functions)).scalar_one(),
        (await session.execute(versions)).scalar_one(),
    )


def quota_of(row: TenantPolicyRow | None) -> Quota:
    """What is set for a tenant; nothing where it has no row."""
    if row is None:
        return Quota()
    return Quota(row.max_artifact_bytes, row.max_artifacts, row.max_total_bytes, row.max_functions, row.max_versions)


async def _ensure_row(session: AsyncSession, tenant: str) -> None:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    await session.execute(insert(TenantPolicyRow).values(tenant=tenant).on_conflict_do_nothing())
