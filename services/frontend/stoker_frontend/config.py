"""What the frontend can be told, each by an environment variable `STOKER_FRONTEND_…`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from stoker_service.config import ServiceSettings


class FrontendSettings(ServiceSettings):
    """The frontend's settings."""

    model_config = SettingsConfigDict(env_prefix="STOKER_FRONTEND_", frozen=True, extra="ignore")

    listen_address: str = Field(default="127.0.0.1:7400", description="Where clients call, `address:port`.")
    codestore_address: str = Field(default="127.0.0.1:7402", description="The codestore, a gRPC target.")
    scheduler_address: str = Field(default="127.0.0.1:7401", description="The scheduler, a gRPC target.")
    database_url: str = Field(
        default="sqlite+aiosqlite:////var/lib/stoker/frontend/frontend.db",
        pattern=r"^(sqlite\+aiosqlite:///|postgresql\+asyncpg://).",
        description="Tenants and API keys: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`.",
    )
    admin_key_file: Path = Field(
        default=Path("/var/lib/stoker/frontend/admin.key"),
        description="The file that holds the admin key, `stk.<16 hex digits>.<43 URL-safe characters>`.",
    )
    key_cache_ttl_s: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="How long a key that another frontend revoked may still be taken, in seconds.",
    )
    route_stale_s: float = Field(
        default=300.0,
        ge=0,
        description="How long a route is used while the codestore is away and cannot confirm it, in seconds.",
    )
    lease_idle_s: float = Field(
        default=5.0, gt=0, le=300, description="How long an unused container is kept leased, in seconds."
    )
    capacity_wait_s: float = Field(
        default=60.0,
        gt=0,
        le=900,
        description="How long an invocation waits for a container at the most, in seconds, whatever its deadline.",
    )
    max_invocations: int = Field(
        default=1000, ge=1, description="How many invocations may run or wait at once; more are refused."
    )
    max_acquiring_per_version: int = Field(
        default=32, ge=1, description="How many containers of one version are asked for at once; more demands wait."
    )
    host_connect_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="How long connecting to a host may take, in seconds, before another container is sought.",
    )
    host_unused_s: float = Field(
        default=600.0, ge=300, description="How long the stream to a host without invocations is kept, in seconds."
    )
