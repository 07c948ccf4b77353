"""Where Stoker answers, and with which keys it is called.

Each value is the first that exists of: what the caller passes, the environment variable, the configuration file.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from stoker.errors import ConfigurationError

DEFAULT_ENDPOINT = "127.0.0.1:7400"
ENDPOINT_VARIABLE = "STOKER_ENDPOINT"
API_KEY_VARIABLE = "STOKER_API_KEY"
ADMIN_KEY_VARIABLE = "STOKER_ADMIN_KEY"
CONFIG_VARIABLE = "STOKER_CONFIG"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client must know."""

    endpoint: str = DEFAULT_ENDPOINT
    """Where the frontend answers: `address:port`, or another gRPC target."""
    api_key: str = field(default="", repr=False)
    """The tenant's key."""
    admin_key: str = field(default="", repr=False)
    """The operator's key."""
    left_out: str = ""
    """Why keys of the configuration file are not used; empty where they are, or there are none."""

    def key(self, *, is_admin: bool) -> str:
        """The key that a call goes with.

        Raises:
            ConfigurationError: There is none.
        """
        why = f"; {self.left_out}" if self.left_out else ""
        if is_admin and not self.admin_key:
            raise ConfigurationError(
                "ADMIN_KEY_MISSING", f"this needs the admin key: set {ADMIN_KEY_VARIABLE} (`stoker up` makes one){why}"
            )
        if not is_admin and not self.api_key:
            raise ConfigurationError(
                "API_KEY_MISSING",
                f"this needs an API key: set {API_KEY_VARIABLE} (`stoker up` and `stoker admin tenant create` make one)"
                f"{why}",
            )
        return self.admin_key if is_admin else self.api_key


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The configuration file: `STOKER_CONFIG`, or `stoker/config.toml` in the user's configuration directory."""
    if given := environment.get(CONFIG_VARIABLE):
        return Path(given)
    base = environment.get("XDG_CONFIG_HOME", "")
    directory = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".config"
    return directory / "stoker" / "config.toml"


def read_config(path: Path) -> Mapping[str, str]:
    """The strings of a configuration file; none where there is no such file.

    Raises:
        ConfigurationError: It cannot be read, or something in it is not as it must be.
    """
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError("CONFIG_UNREADABLE", f"cannot read the configuration {path}: {error}") from error
    known = ("endpoint", "api_key", "admin_key")
    for name, value in found.items():
        if name not in known or not isinstance(value, str):
            raise ConfigurationError(
                "CONFIG_INVALID", f"{path}: `{name}` is not one of the strings {', '.join(known)}; correct or remove it"
            )
    return cast("Mapping[str, str]", found)


def load(
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    admin_key: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings of a client.

    Raises:
        ConfigurationError: The configuration file is needed and no good.
    """
    given = {"endpoint": endpoint, "api_key": api_key, "admin_key": admin_key}
    variables = {"endpoint": ENDPOINT_VARIABLE, "api_key": API_KEY_VARIABLE, "admin_key": ADMIN_KEY_VARIABLE}
    values = {name: given[name] or environment.get(variables[name], "") for name in given}
    file = config_file(environment)
    kept: Mapping[str, str] = {} if all(values.values()) else read_config(file)
    left_out = ""
    of = kept.get("endpoint", DEFAULT_ENDPOINT)
    if kept and values["endpoint"] not in ("", of):
        # Keys are for one Stoker, and are sent to no other.
        kept, left_out = {}, f"the keys in {file} are for {of}"
    return Settings(
        endpoint=values["endpoint"] or kept.get("endpoint", DEFAULT_ENDPOINT),
        api_key=values["api_key"] or kept.get("api_key", ""),
        admin_key=values["admin_key"] or kept.get("admin_key", ""),
        left_out=left_out,
    )


def write_config(path: Path, settings: Settings) -> None:
    """Writes a configuration file that only its owner can read; it is there whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {"endpoint": settings.endpoint, "api_key": settings.api_key, "admin_key": settings.admin_key}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # A string in JSON is one in TOML too.
        file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in values.items() if value)
    unfinished.rename(path)
