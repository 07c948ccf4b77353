"""The tables of functions, versions, aliases and artifacts."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, ForeignKeyConstraint, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = String(63).with_variant(String(63, collation="C"), "postgresql")
"""A name of a tenant, function or alias, in the order of its bytes in every database."""
UID = String(32)
SHA256 = String(64)
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
    create_time: Mapped[datetime] = mapped_column(TIME)
    update_time: Mapped[datetime] = mapped_column(TIME)
    etag: Mapped[str] = mapped_column(UID)


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


class ContentRow(Base):
    """What the object store holds, once over all tenants."""

    __tablename__ = "contents"

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    format: Mapped[str] = mapped_column(String(16))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    unpacked_size_bytes: Mapped[int] = mapped_column(BigInteger)
    file_count: Mapped[int] = mapped_column(BigInteger)


class ArtifactRow(Base):
    """That a tenant has uploaded a content. Without such a row it does not exist for that tenant."""

    __tablename__ = "artifacts"

    tenant: Mapped[str] = mapped_column(NAME, primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("contents.sha256"), primary_key=True, index=True)
    create_time: Mapped[datetime] = mapped_column(TIME)
