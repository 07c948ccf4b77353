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
    max_uploads: int = Field(default=8, ge=1, description="How many uploads may run at once; more are refused.")
    upload_s: float = Field(default=900.0, gt=0, le=3600, description="How long an upload may take, in seconds.")
    upload_idle_s: float = Field(
        default=30.0, gt=0, le=600, description="How long an upload may wait for its client's next bytes, in seconds."
    )
