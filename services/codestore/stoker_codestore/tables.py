"""The tables of functions, versions, aliases and artifacts."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column

NAME = String(63).with_variant(String(63, collation="C"), "postgresql")
"""A name of a tenant, function or alias, in the order of its bytes in every database."""
UID = String(32)
SHA256 = String(64)
KEY_ID = String(32)
"""Of a signing key: the begin of its SHA-256."""
TIME = DateTime(timezone=True)


class Base(DeclarativeBase):
    """What all tables of the codestore belong to."""


class FunctionRow(Base):
    """A function. Whoever changes it, its versions or its aliases locks its row first."""

    __tablename__ = "functions"
    __table_args__ = (UniqueConstraint("tenant", "name", name="uq_functions_tenant_name"),)

    uid: Mapped[str] = mapped_column(UID, primary_key=True)
    tenant: Mapped[str] = mapped_column(NAME)
    name: Mapped[str] = mapped_column(NAME)
    description: Mapped[str] = mapped_column(String(1024))
    # The highest number that was ever given, so that none is given twice, also when its version is gone.
    last_number: Mapped[int] = mapped_column(BigInteger)
    # Containers kept loaded for `live`, and how many invocations may run at once; 0 for no such setting.
    provisioned: Mapped[int] = mapped_column(Integer, default=0)
    maximum: Mapped[int] = mapped_column(Integer, default=0)
    # What answers while a new version is loaded, and for how many seconds the version before may.
    rollover: Mapped[str] = mapped_column(String(16), default="serve_previous")
    max_staleness_s: Mapped[int] = mapped_column(Integer, default=60)
    # How many of the newest versions are kept whatever happens; 0 for the default.
    versions_kept: Mapped[int] = mapped_column(Integer, default=0)
    create_time: Mapped[datetime] = mapped_column(TIME)
    update_time: Mapped[datetime] = mapped_column(TIME)
    etag: Mapped[str] = mapped_column(UID)


class TenantPolicyRow(Base):
    """What a tenant may; 0 for the default. Whoever adds what a quota counts locks the tenant's row first."""

    __tablename__ = "tenant_policies"

    tenant: Mapped[str] = mapped_column(NAME, primary_key=True)
    max_artifact_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    max_artifacts: Mapped[int] = mapped_column(BigInteger, default=0)
    max_total_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    max_functions: Mapped[int] = mapped_column(BigInteger, default=0)
    max_versions: Mapped[int] = mapped_column(BigInteger, default=0)
    require_signed: Mapped[bool] = mapped_column(Boolean, default=False)


class SigningKeyRow(Base):
    """A public key of somebody who vouches for a tenant's code."""

    __tablename__ = "signing_keys"
    __table_args__ = (UniqueConstraint("tenant", "key_id", name="uq_signing_keys_tenant_key_id"),)

    tenant: Mapped[str] = mapped_column(NAME, primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    key_id: Mapped[str] = mapped_column(KEY_ID)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    create_time: Mapped[datetime] = mapped_column(TIME)


class VersionRow(Base):
    """A version."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("function_uid", "number", name="uq_versions_function_uid_number"),)

    uid: Mapped[str] = mapped_column(UID, primary_key=True)
    function_uid: Mapped[str] = mapped_column(ForeignKey("functions.uid"))
    number: Mapped[int] = mapped_column(BigInteger)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("contents.sha256"), index=True)
    runtime: Mapped[str] = mapped_column(String(32))
    handler: Mapped[str] = mapped_column(String(256))
    memory_mib: Mapped[int] = mapped_column(Integer)
    timeout_s: Mapped[int] = mapped_column(Integer)
    tmp_mib: Mapped[int] = mapped_column(Integer)
    concurrency: Mapped[int] = mapped_column(Integer)
    environment: Mapped[dict[str, str]] = mapped_column(JSON)
    description: Mapped[str] = mapped_column(String(1024))
    # Of each layer its name, its version's number, and its artifact's SHA-256 and size; null for none.
    layers: Mapped[list[tuple[str, int, str, int]] | None] = mapped_column(JSON(none_as_null=True))
    # Both or none: which key signed its code, and the signature.
    signing_key_id: Mapped[str | None] = mapped_column(KEY_ID)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary(64))
    # Read with it, as they count at this moment: that key, if the tenant still has it, and the tenant's policy.
    signing_key: Mapped[bytes | None] = column_property(
        select(SigningKeyRow.public_key)
        .join(FunctionRow, FunctionRow.tenant == SigningKeyRow.tenant)
        .where(FunctionRow.uid == function_uid, SigningKeyRow.key_id == signing_key_id)
        .correlate_except(SigningKeyRow, FunctionRow)
        .scalar_subquery()
    )
    require_signed: Mapped[bool | None] = column_property(
        select(TenantPolicyRow.require_signed)
        .join(FunctionRow, FunctionRow.tenant == TenantPolicyRow.tenant)
        .where(FunctionRow.uid == function_uid)
        .correlate_except(TenantPolicyRow, FunctionRow)
        .scalar_subquery()
    )
    create_time: Mapped[datetime] = mapped_column(TIME)


class LayerRow(Base):
    """A layer. Whoever publishes, uses or deletes a version of it locks its row first. It stays when all are gone."""

    __tablename__ = "layers"
    __table_args__ = (UniqueConstraint("tenant", "name", name="uq_layers_tenant_name"),)

    uid: Mapped[str] = mapped_column(UID, primary_key=True)
    tenant: Mapped[str] = mapped_column(NAME)
    name: Mapped[str] = mapped_column(NAME)
    # The highest number that was ever given.
    last_number: Mapped[int] = mapped_column(BigInteger)


class LayerVersionRow(Base):
    """A version of a layer."""

    __tablename__ = "layer_versions"

    layer_uid: Mapped[str] = mapped_column(ForeignKey("layers.uid"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("contents.sha256"), index=True)
    description: Mapped[str] = mapped_column(String(1024))
    create_time: Mapped[datetime] = mapped_column(TIME)


class AliasRow(Base):
    """An alias. Its second version, where there is one, gets what is left of 100 percent."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["function_uid", "version"], ["versions.function_uid", "versions.number"], name="fk_aliases_version"
        ),
        ForeignKeyConstraint(
            ["function_uid", "second_version"],
            ["versions.function_uid", "versions.number"],
            name="fk_aliases_second_version",
        ),
    )

    function_uid: Mapped[str] = mapped_column(ForeignKey("functions.uid"), primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    weight: Mapped[int] = mapped_column(Integer)
    second_version: Mapped[int | None] = mapped_column(BigInteger)
    # Containers kept loaded for it; 0 for no such setting.
    provisioned: Mapped[int] = mapped_column(Integer, default=0)
    update_time: Mapped[datetime] = mapped_column(TIME)
    etag: Mapped[str] = mapped_column(UID)


class AliasChangeRow(Base):
    """One change of where an alias points. Routes are pairs of a version's number and a weight; null for no alias."""

    __tablename__ = "alias_changes"
    __table_args__ = (Index("ix_alias_changes_alias", "function_uid", "alias", "id"),)

    # In the order of the changes. SQLite counts up only what it calls an integer.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    function_uid: Mapped[str] = mapped_column(ForeignKey("functions.uid"))
    alias: Mapped[str] = mapped_column(NAME)
    time: Mapped[datetime] = mapped_column(TIME)
    # The public id of the API key that asked for it, or a word for what in Stoker did it.
    actor: Mapped[str] = mapped_column(String(64))
    routes_before: Mapped[list[list[int]] | None] = mapped_column(JSON(none_as_null=True))
    routes_after: Mapped[list[list[int]] | None] = mapped_column(JSON(none_as_null=True))
    reason: Mapped[str] = mapped_column(String(256))


class VersionLoadRow(Base):
    """How loading a version's code ended last, as a frontend told; there is none of a version never tried."""

    __tablename__ = "version_loads"

    version_uid: Mapped[str] = mapped_column(ForeignKey("versions.uid"), primary_key=True)
    kind: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(256))
    message: Mapped[str] = mapped_column(String(4096))
    # How often it failed in a row, 0 where it was loaded; when it was tried last, and when it is tried again.
    failures: Mapped[int] = mapped_column(Integer)
    time: Mapped[datetime] = mapped_column(TIME)
    retry_time: Mapped[datetime] = mapped_column(TIME)


class RolloutRow(Base):
    """A rollout: what was asked for, how far it has come, and what is known of the two versions."""

    __tablename__ = "rollouts"
    __table_args__ = (Index("ix_rollouts_function_uid_create_time", "function_uid", "create_time"),)

    uid: Mapped[str] = mapped_column(UID, primary_key=True)
    function_uid: Mapped[str] = mapped_column(ForeignKey("functions.uid"))
    alias: Mapped[str] = mapped_column(NAME)
    # The versions by number and uid. They may be deleted when it has ended.
    from_version: Mapped[int] = mapped_column(BigInteger)
    from_uid: Mapped[str] = mapped_column(UID)
    to_version: Mapped[int] = mapped_column(BigInteger)
    to_uid: Mapped[str] = mapped_column(UID)
    steps: Mapped[list[int]] = mapped_column(JSON)
    every_s: Mapped[float] = mapped_column(Double)
    min_calls: Mapped[int] = mapped_column(Integer)
    # Fields of `rollout_plan.Progress`; the seconds are those since 1970.
    state: Mapped[str] = mapped_column(String(16), index=True)
    step: Mapped[int] = mapped_column(Integer)
    since_s: Mapped[float] = mapped_column(Double)
    held_s: Mapped[float] = mapped_column(Double)
    # How many calls of the new version had been judged when the step began.
    judged_before: Mapped[int] = mapped_column(BigInteger)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(String(256))
    actor: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime] = mapped_column(TIME)


class ContentRow(Base):
    """What the object store holds, once over all tenants."""

    __tablename__ = "contents"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    format: Mapped[str] = mapped_column(String(16))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    unpacked_size_bytes: Mapped[int] = mapped_column(BigInteger)
    file_count: Mapped[int] = mapped_column(BigInteger)
    # Its name in the object store. One that was swept and comes again gets another, so that no belated deletion of the
    # one meets the other.
    object_key: Mapped[str] = mapped_column(String(128))
    # Since when no tenant has it; null while one does.
    unused_since: Mapped[datetime | None] = mapped_column(TIME, index=True)


class ArtifactRow(Base):
    """That a tenant has uploaded a content. Without such a row it does not exist for that tenant."""

    __tablename__ = "artifacts"

    tenant: Mapped[str] = mapped_column(NAME, primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("contents.sha256"), primary_key=True, index=True)
    create_time: Mapped[datetime] = mapped_column(TIME)
    # Since when no version of the tenant has it; null while one does.
    unused_since: Mapped[datetime | None] = mapped_column(TIME, index=True)


class DoomedObjectRow(Base):
    """An object that nothing names any more, to be deleted from the store. Its key is never used again."""

    __tablename__ = "doomed_objects"

    object_key: Mapped[str] = mapped_column(String(128), primary_key=True)
    # When; see `doomed_objects.py`.
    time: Mapped[datetime] = mapped_column(TIME, index=True)


class ManifestRow(Base):
    """The tree that a content unpacks to, for hosts: its manifest is in the object store, and so are its chunks."""

    __tablename__ = "manifests"

    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("contents.sha256"), primary_key=True)
    # The manifest's own digest, by which it is verified wherever it goes.
    sha256: Mapped[str] = mapped_column(SHA256)
    # The size of all its chunks as they are stored, each once.
    packed_bytes: Mapped[int] = mapped_column(BigInteger)
    object_key: Mapped[str] = mapped_column(String(128))


class ChunkRow(Base):
    """A chunk, once over all artifacts. It goes when no artifact has it; if it comes again, its key is another."""

    __tablename__ = "chunks"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    size_bytes: Mapped[int] = mapped_column(Integer)
    object_key: Mapped[str] = mapped_column(String(128))
    # Whether it is in the object store; until then whoever needs it writes it.
    is_stored: Mapped[bool] = mapped_column(Boolean)


class ArtifactChunkRow(Base):
    """That an artifact needs a chunk. It is there before the chunk is, and as long as the artifact is."""

    __tablename__ = "artifact_chunks"

    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("contents.sha256"), primary_key=True)
    chunk_sha256: Mapped[str] = mapped_column(ForeignKey("chunks.sha256"), primary_key=True, index=True)
