"""What the codestore can be told, each by an environment variable `STOKER_CODESTORE_…`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from stoker_service.config import ServiceSettings


class CodestoreSettings(ServiceSettings):
    """The codestore's settings."""

    model_config = SettingsConfigDict(env_prefix="STOKER_CODESTORE_", frozen=True, extra="ignore")

    listen_address: str = Field(default="127.0.0.1:7402", description="Where other services call, `address:port`.")
    database_url: str = Field(
        default="sqlite+aiosqlite:////var/lib/stoker/codestore/codestore.db",
        pattern="^(sqlite\\+aiosqlite|postgresql\\+asyncpg)://",
        description="Functions, versions, aliases: `sqlite+aiosqlite:///file` for one codestore, or "
        "`postgresql+asyncpg://…` for any number.",
    )
    artifacts_url: str = Field(
        default="file:///var/lib/stoker/codestore/artifacts",
        description="Where artifacts are kept: `file:///directory`, `s3://bucket/prefix`, `gs://…` or `az://…`. "
        "Credentials and endpoints are taken from the usual variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, "
        "`AWS_ALLOW_HTTP`, …).",
    )
    uploads_dir: Path = Field(
        default=Path("/var/lib/stoker/codestore/uploads"),
        description="Where uploads are kept until they are checked; it needs room for `max_uploads` of 256 MiB.",
    )
    versions_kept: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="How many of a function's newest versions are kept, where the function does not say itself.",
    )
    alias_changes_kept_s: float = Field(
        default=86_400.0,
        ge=3600,
        description="How long a version is kept after an alias has last named it, in seconds, however old it is.",
    )
    artifacts_kept_s: float = Field(
        default=86_400.0,
        ge=0,
        description="How long an artifact is kept that no version has, in seconds: it was not published yet, or all "
        "its versions are gone.",
    )
    sweep_grace_s: float = Field(
        default=3600.0,
        ge=0,
        description="How long what no tenant has any more is still stored, in seconds; longer than writing one "
        "artifact to the store may take, which is 300 s.",
    )
    sweep_every_s: float = Field(
        default=300.0, gt=0, le=86_400, description="How often is looked for what is to be deleted, in seconds."
    )
    tenant_artifact_mib: int = Field(
        default=256, ge=1, le=256, description="The largest artifact of a tenant of which nothing is said, in MiB."
    )
    tenant_artifacts: int = Field(default=10_000, ge=0, description="How many artifacts such a tenant may have.")
    tenant_total_mib: int = Field(
        default=102_400, ge=0, description="How large all its artifacts may be together, packed, in MiB."
    )
    tenant_functions: int = Field(default=1000, ge=0, description="How many functions it may have.")
    tenant_versions: int = Field(default=20_000, ge=0, description="How many versions it may have of all of them.")
    max_uploads: int = Field(default=8, ge=1, description="How many uploads may run at once; more are refused.")
    upload_s: float = Field(default=900.0, gt=0, le=3600, description="How long an upload may take, in seconds.")
    upload_idle_s: float = Field(
        default=30.0, gt=0, le=600, description="How long an upload may wait for its client's next bytes, in seconds."
    )
    scheduler_address: str = Field(
        default="127.0.0.1:7401",
        description="The scheduler, which says where new versions will be needed, a gRPC target; empty for none.",
    )
    push_ahead: bool = Field(default=True, description="Whether new versions go to hosts before anybody calls them.")
    push_spare_hosts: int = Field(
        default=2,
        ge=0,
        le=1000,
        description="To how many hosts without VMs of a tenant its new versions go, those with most room.",
    )
    push_codestore_copies: int = Field(
        default=2,
        ge=1,
        le=100,
        description="To how many hosts the codestore itself sends a new version; others fetch it of those.",
    )
    push_peer_fetches: int = Field(
        default=2, ge=1, le=100, description="To how many others one host sends code at a time."
    )
    max_chunk_fetches: int = Field(
        default=32, ge=1, le=1000, description="How many fetches of chunks may run at once; more are refused."
    )
