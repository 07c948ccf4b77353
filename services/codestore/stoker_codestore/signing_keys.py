"""Who may vouch for a tenant's code, and whether somebody must, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from stoker_artifacts.signatures import is_signed, key_id_of, signed_message

from stoker_codestore import errors
from stoker_codestore.database import Database, in_utc, now
from stoker_codestore.quotas import Quotas
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import SigningKeyRow, TenantPolicyRow

MAX_KEYS = 100
"""How many signing keys a tenant may have."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key."""

    name: str
    public_key: bytes
    create_time: datetime

    @property
    def key_id(self) -> str:
        """What signatures call it."""
        return key_id_of(self.public_key)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of a version's code."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a version's code is what its owner wants to run, as hosts are told."""

    signature: bytes
    """Empty where there is none."""
    public_key: bytes
    """Empty where the tenant has the key no more."""
    is_required: bool


class SigningKeys:
    """The signing keys of all tenants."""

    def __init__(self, database: Database, changes: RouteChanges, quotas: Quotas) -> None:
        self._database = database
        self._changes = changes
        self._quotas = quotas

    async def add(self, tenant: str, name: str, public_key: bytes) -> SigningKey:
        """Adds a key.

        Raises:
            StokerError: SIGNING_KEY_EXISTS, TOO_MANY_SIGNING_KEYS, or DATABASE_UNAVAILABLE.
        """
        key = SigningKey(name, public_key, now())
        row = SigningKeyRow(
            tenant=tenant, name=name, key_id=key.key_id, public_key=public_key, create_time=key.create_time
        )
        of_tenant = select(func.count()).select_from(SigningKeyRow).where(SigningKeyRow.tenant == tenant)
        try:
            # What the key signed before it was deleted counts again.
            async with self._changes.changing_tenant(tenant) as session:
                await self._quotas.lock(session, tenant)
                if (await session.execute(of_tenant)).scalar_one() >= MAX_KEYS:
                    raise errors.too_many_signing_keys(MAX_KEYS)
                session.add(row)
        except IntegrityError as error:
            raise errors.signing_key_exists(name, key.key_id) from error
        return key

    async def list(self, tenant: str) -> Sequence[SigningKey]:
        """A tenant's keys, by name.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        query = select(SigningKeyRow).where(SigningKeyRow.tenant == tenant).order_by(SigningKeyRow.name)
        async with self._database.transaction() as session:
            rows = await session.scalars(query)
            return [SigningKey(row.name, row.public_key, in_utc(row.create_time)) for row in rows]

    async def delete(self, tenant: str, name: str) -> None:
        """Ends a key: what it signed counts as unsigned from now on.

        Raises:
            StokerError: SIGNING_KEY_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing_tenant(tenant) as session:
            await self._quotas.lock(session, tenant)
            row = await session.get(SigningKeyRow, (tenant, name))
            if row is None:
                raise errors.signing_key_not_found(name)
            await session.delete(row)


async def check_signature(
    session: AsyncSession, tenant: str, digests: Sequence[str], signature: Signature | None
) -> None:
    """Returns if code may be published, in a transaction that has locked the tenant's policy.

    Args:
        session: The transaction.
        tenant: Whose code it is.
        digests: The artifact's digest, then those of the layers.
        signature: Who vouches for it.

    Raises:
        StokerError: SIGNATURE_REQUIRED, SIGNING_KEY_UNKNOWN, SIGNATURE_INVALID.
    """
    if signature is None:
        policy = await session.get(TenantPolicyRow, tenant)
        if policy is not None and policy.require_signed:
            raise errors.signature_required()
        return
    public_key = await session.scalar(
        select(SigningKeyRow.public_key).where(SigningKeyRow.tenant == tenant, SigningKeyRow.key_id == signature.key_id)
    )
    if public_key is None:
        raise errors.signing_key_unknown(signature.key_id)
    if not is_signed(signed_message(digests[0], digests[1:]), signature.signature, public_key):
        raise errors.signature_invalid(signature.key_id)
