"""Tenants and their API keys, in the database."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from stoker_service.sql import AWAY

from stoker_frontend import api_keys, errors
from stoker_frontend.api_keys import ApiKey
from stoker_frontend.tables import ApiKeyRow, TenantRow

log = structlog.get_logger()

DATABASE_S = 10.0
"""How long the database may take for one request, in seconds."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns functions."""

    id: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that counts: whose it is, and how to tell its secret."""

    tenant: str
    secret_sha256: bytes


class Tenants:
    """All tenants and keys."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._session = async_sessionmaker(engine, expire_on_commit=False)

    async def create(self, tenant_id: str) -> tuple[Tenant, ApiKey]:
        """Makes a tenant and its first key.

        Raises:
            StokerError: TENANT_EXISTS, or DATABASE_UNAVAILABLE.
        """
        now = datetime.now(UTC)
        key = api_keys.generate()
        try:
            async with self._transaction() as session:
                session.add(TenantRow(id=tenant_id, create_time=now))
                await session.flush()
                session.add(_row(tenant_id, key, now))
        except IntegrityError as error:
            raise errors.tenant_exists(tenant_id) from error
        return Tenant(tenant_id, now), key

    async def list_after(self, after: str, limit: int) -> Sequence[Tenant]:
        """The tenants whose ids come after `after`, by id, `limit` at the most.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        query = select(TenantRow).where(TenantRow.id > after).order_by(TenantRow.id).limit(limit)
        async with self._transaction() as session:
            rows = (await session.scalars(query)).all()
        return [Tenant(row.id, _in_utc(row.create_time)) for row in rows]

    async def check_exists(self, tenant_id: str) -> None:
        """Returns if there is such a tenant.

        Raises:
            StokerError: TENANT_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._transaction() as session:
            if await session.get(TenantRow, tenant_id) is None:
                raise errors.tenant_not_found(tenant_id)

    async def create_key(self, tenant_id: str) -> ApiKey:
        """Makes one more key.

        Raises:
            StokerError: TENANT_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        key = api_keys.generate()
        async with self._transaction() as session:
            if await session.get(TenantRow, tenant_id) is None:
                raise errors.tenant_not_found(tenant_id)
            session.add(_row(tenant_id, key, datetime.now(UTC)))
        return key

    async def revoke_key(self, key_id: str) -> None:
        """Ends a key; one that was ended before stays so.

        Raises:
            StokerError: API_KEY_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._transaction() as session:
            row = await session.get(ApiKeyRow, key_id)
            if row is None:
                raise errors.api_key_not_found(key_id)
            row.revoke_time = row.revoke_time or datetime.now(UTC)

    async def find_key(self, key_id: str) -> KnownKey | None:
        """The key with that id; None where there is none, or it was revoked.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        async with self._transaction() as session:
            row = await session.get(ApiKeyRow, key_id)
        return None if row is None or row.revoke_time else KnownKey(row.tenant_id, row.secret_sha256)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[AsyncSession]:
        try:
            async with asyncio.timeout(DATABASE_S), self._session.begin() as session:
                yield session
        except IntegrityError:
            raise
        except AWAY as error:
            log.error("database.failed", exc_info=error)
            raise errors.database_unavailable() from error


def _row(tenant_id: str, key: ApiKey, now: datetime) -> ApiKeyRow:
    return ApiKeyRow(
        id=key.key_id, tenant_id=tenant_id, secret_sha256=api_keys.hash_secret(key.secret), create_time=now
    )


def _in_utc(time: datetime) -> datetime:
    # SQLite keeps no time zone; what is written there is UTC.
    return time if time.tzinfo else time.replace(tzinfo=UTC)
