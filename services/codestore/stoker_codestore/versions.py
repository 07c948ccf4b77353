"""Versions, in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from sqlalchemy import or_, select

from stoker_codestore import errors
from stoker_codestore.artifacts import use_artifacts
from stoker_codestore.database import Database, in_utc, new_id, now
from stoker_codestore.functions import find_function, lock_function
from stoker_codestore.layers import UsedLayer, column_of, layers_of, resolve_layers
from stoker_codestore.quotas import Quotas, usage_of
from stoker_codestore.retention import Retention, remove_versions
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.signing_keys import Proof, Signature, check_signature
from stoker_codestore.tables import AliasRow, VersionRow

DEFAULT_MEMORY_MIB = 128
DEFAULT_TIMEOUT_S = 30
DEFAULT_TMP_MIB = 64
DEFAULT_CONCURRENCY = 1
HIGHEST_NUMBER = 2**63 - 1
"""What databases can hold; what lists that begin at the newest begin before."""


class Runtime(Enum):
    """What runs a version's code."""

    PYTHON3 = "python3"
    NODEJS = "nodejs"


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that makes one version another than the next."""

    artifact_sha256: str
    runtime: Runtime
    handler: str
    memory_mib: int
    timeout_s: int
    tmp_mib: int
    concurrency: int
    """How many invocations one container runs at once."""
    environment: Mapping[str, str]
    description: str
    layers: tuple[UsedLayer, ...] = ()
    """What the function finds in `/opt`, each over those before it."""
    signature: Signature | None = None
    """By whom the code is signed."""

    def with_defaults(self) -> "Configuration":
        """What is 0 because it was not given, given."""
        return replace(
            self,
            memory_mib=self.memory_mib or DEFAULT_MEMORY_MIB,
            timeout_s=self.timeout_s or DEFAULT_TIMEOUT_S,
            tmp_mib=self.tmp_mib or DEFAULT_TMP_MIB,
            concurrency=self.concurrency or DEFAULT_CONCURRENCY,
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A published version; one that was only checked has no number, uid and time."""

    configuration: Configuration
    number: int = 0
    uid: str = ""
    create_time: datetime | None = None
    proof: Proof | None = None
    """What hosts are told of who vouches for the code; None where nobody does and nobody must."""


class Versions:
    """The versions of all functions."""

    def __init__(self, database: Database, changes: RouteChanges, quotas: Quotas, retention: Retention) -> None:
        self._database = database
        self._changes = changes
        self._quotas = quotas
        self._retention = retention

    async def publish(
        self, tenant: str, function: str, configuration: Configuration, *, validate_only: bool
    ) -> Version:
        """Publishes the next version, unless the newest is the same already; that one is returned then.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ARTIFACT_NOT_FOUND, LAYER_NOT_FOUND, SIGNATURE_REQUIRED,
                SIGNING_KEY_UNKNOWN, SIGNATURE_INVALID, QUOTA_EXCEEDED, or DATABASE_UNAVAILABLE.
        """
        configuration = configuration.with_defaults()
        begin = self._database.transaction() if validate_only else self._changes.changing(tenant, function)
        async with begin as session:
            row = await lock_function(session, tenant, function)
            layers = await resolve_layers(session, tenant, configuration.layers)
            configuration = replace(configuration, layers=layers)
            quota = await self._quotas.lock(session, tenant)
            digests = [configuration.artifact_sha256, *(layer.artifact_sha256 for layer in configuration.layers)]
            if missing := await use_artifacts(session, tenant, digests):
                raise errors.artifact_not_found(missing, "version.artifact")
            await check_signature(session, tenant, digests, configuration.signature)
            newest = await session.scalar(
                select(VersionRow).where(VersionRow.function_uid == row.uid).order_by(VersionRow.number.desc()).limit(1)
            )
            if newest is not None and (version := version_of(newest)).configuration == configuration:
                return version
            # First what is superfluous, so that nobody is refused for the sake of what was to go.
            await self._retention.make_room(session, row, now())
            quota.check_version(tenant, await usage_of(session, tenant))
            if validate_only:
                await session.rollback()
                return Version(configuration)
            row.last_number += 1
            published = Version(configuration, row.last_number, new_id(), now())
            session.add(_row(published, row.uid))
        return published

    async def get(self, tenant: str, function: str, number: int) -> Version:
        """Returns a version.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, VERSION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            function_row = await find_function(session, tenant, function)
            row = await session.scalar(
                select(VersionRow).where(VersionRow.function_uid == function_row.uid, VersionRow.number == number)
            )
        if row is None:
            raise errors.version_not_found(function, str(number))
        return version_of(row)

    async def list_before(self, tenant: str, function: str, before: int, limit: int) -> Sequence[Version]:
        """A function's versions with numbers below `before`, newest first, `limit` at the most.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            function_row = await find_function(session, tenant, function)
            rows = await session.scalars(
                select(VersionRow)
                .where(VersionRow.function_uid == function_row.uid, VersionRow.number < before)
                .order_by(VersionRow.number.desc())
                .limit(limit)
            )
        return [version_of(row) for row in rows]

    async def delete(self, tenant: str, function: str, number: int) -> None:
        """Deletes a version. Its number is never given again.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, VERSION_NOT_FOUND, VERSION_IN_USE, or DATABASE_UNAVAILABLE.
        """
        async with self._changes.changing(tenant, function) as session:
            function_row = await lock_function(session, tenant, function)
            row = await session.scalar(
                select(VersionRow).where(VersionRow.function_uid == function_row.uid, VersionRow.number == number)
            )
            if row is None:
                raise errors.version_not_found(function, str(number))
            alias = await session.scalar(
                select(AliasRow.name)
                .where(
                    AliasRow.function_uid == function_row.uid,
                    or_(AliasRow.version == number, AliasRow.second_version == number),
                )
                .order_by(AliasRow.name)
                .limit(1)
            )
            if alias is not None:
                raise errors.version_in_use(function, number, alias)
            await remove_versions(session, function_row.uid, [number])


def version_of(row: VersionRow) -> Version:
    """The version that a row describes."""
    configuration = Configuration(
        row.artifact_sha256,
        Runtime(row.runtime),
        row.handler,
        row.memory_mib,
        row.timeout_s,
        row.tmp_mib,
        row.concurrency,
        row.environment,
        row.description,
        layers_of(row.layers),
        Signature(row.signing_key_id, row.signature) if row.signing_key_id and row.signature else None,
    )
    return Version(configuration, row.number, row.uid, in_utc(row.create_time), _proof(row))


def _proof(row: VersionRow) -> Proof | None:
    if not (row.signature or row.require_signed):
        return None
    return Proof(row.signature or b"", row.signing_key or b"", bool(row.require_signed))


def _row(version: Version, function_uid: str) -> VersionRow:
    configuration = version.configuration
    return VersionRow(
        uid=version.uid,
        function_uid=function_uid,
        number=version.number,
        artifact_sha256=configuration.artifact_sha256,
        runtime=configuration.runtime.value,
        handler=configuration.handler,
        memory_mib=configuration.memory_mib,
        timeout_s=configuration.timeout_s,
        tmp_mib=configuration.tmp_mib,
        concurrency=configuration.concurrency,
        environment=dict(configuration.environment),
        description=configuration.description,
        layers=column_of(configuration.layers),
        signing_key_id=configuration.signature.key_id if configuration.signature else None,
        signature=configuration.signature.signature if configuration.signature else None,
        create_time=version.create_time,
    )
