"""What is set for tenants: how much they may store, and whether their code must be signed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from stoker_codestore.database import Database
from stoker_codestore.quotas import Quota, Quotas, Usage, quota_of, usage_of
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import TenantPolicyRow

QUOTAS = tuple(field.name for field in fields(Quota))
REQUIRE_SIGNED = "require_signed"


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What is set for a tenant."""

    quota: Quota
    require_signed: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What is set for a tenant, and how it stands."""

    policy: TenantPolicy
    effective_quota: Quota
    usage: Usage


class TenantPolicies:
    """The policies of all tenants. A tenant is only a name here: the frontend knows which there are."""

    def __init__(self, database: Database, changes: RouteChanges, quotas: Quotas) -> None:
        self._database = database
        self._changes = changes
        self._quotas = quotas

    async def get(self, tenant: str) -> Standing:
        """Returns a tenant's policy, and how it stands.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            effective = await self._quotas.of(session, tenant)
            row = await session.get(TenantPolicyRow, tenant)
            return Standing(_policy(row), effective, await usage_of(session, tenant))

    async def update(self, tenant: str, values: Mapping[str, int | bool]) -> TenantPolicy:
        """Changes some of a tenant's policy: `require_signed`, or quotas by their names.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        # What hosts are told of all its versions depends on it.
        async with self._changes.changing_tenant(tenant) as session:
            await self._quotas.lock(session, tenant)
            row = await session.get_one(TenantPolicyRow, tenant)
            for name, value in values.items():
                setattr(row, name, value)
            return _policy(row)


def _policy(row: TenantPolicyRow | None) -> TenantPolicy:
    return TenantPolicy(quota_of(row), row is not None and row.require_signed)
