"""Configuration by environment variables, read once at start-up."""

import sys
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What every service can be told. A service adds its own fields and its `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    listen_address: str = Field(description="Where the service answers, `address:port`; port 0 takes a free one.")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="The least severe events that are logged."
    )
    drain_s: float = Field(
        default=10.0, ge=0, le=900, description="How long running calls may go on after SIGTERM, in seconds."
    )


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(settings: type[Settings]) -> Settings:
    """Reads settings from the environment; exits with status 2, naming the variables, where one is wrong."""
    try:
        return settings.model_validate({})
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            print(f"{prefix}{name.upper()}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
