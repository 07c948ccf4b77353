"""Where the Stoker of one home directory keeps its files and answers. Nothing here touches the disk."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path("/var/lib/stoker")
DEFAULT_LISTEN = "127.0.0.1"
DEFAULT_PORT_BASE = 7400

SERVICES = ("codestore", "scheduler", "hostagent", "frontend")
"""In the order in which they are started."""
_PORT_OFFSETS = {"frontend": 0, "scheduler": 1, "codestore": 2, "hostagent": 3}


@dataclass(frozen=True, slots=True)
class Layout:
    """One Stoker on this machine."""

    home: Path
    listen: str
    """The address that all services listen on."""
    port_base: int
    """The frontend's port; the others have the three that follow."""
    host: str
    """The host agent's id, by which it knows its VMs again."""

    def listen_address(self, service: str) -> str:
        """Where a service listens."""
        return f"{self.listen}:{self.port_base + _PORT_OFFSETS[service]}"

    def address(self, service: str) -> str:
        """Where a service is called from this machine."""
        reachable = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(self.listen, self.listen)  # noqa: S104 - compared, not bound
        return f"{reachable}:{self.port_base + _PORT_OFFSETS[service]}"

    def directory(self, service: str) -> Path:
        """What a service keeps."""
        return self.home / service

    def log_file(self, service: str) -> Path:
        """What a service logs."""
        return self.home / "logs" / f"{service}.log"

    def process_file(self, name: str) -> Path:
        """Which process a service, or a daemon that was started for it, is."""
        return self.home / "run" / f"{name}.json"

    @property
    def record_file(self) -> Path:
        """The layout itself, so that `down` and the next `up` need not be told it again."""
        return self.home / "run" / "layout.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the command that is changing what runs."""
        return self.home / "run" / "lock"

    @property
    def images_dir(self) -> Path:
        """The guest images, unless the host agent is told of another place."""
        return self.home / "images"

    @property
    def admin_key_file(self) -> Path:
        """The operator's key."""
        return self.home / "frontend" / "admin.key"

    @property
    def client_file(self) -> Path:
        """The configuration of a client of this Stoker."""
        return self.home / "client.toml"


def host_id(host_name: str, port_base: int) -> str:
    """The host id on a machine of that name; on other ports than the usual ones it has the port in it."""
    suffix = "" if port_base == DEFAULT_PORT_BASE else f"-{port_base}"
    name = re.sub(r"[^a-z0-9]+", "-", host_name.lower())[: 63 - len(suffix)].strip("-")
    return f"{name or 'host'}{suffix}"


def given_environment(service: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """What of the environment is meant for a service: its own variables, and those of OpenTelemetry."""
    prefixes = (_prefix(service), "OTEL_")
    return {name: value for name, value in environment.items() if name.startswith(prefixes)}


def _prefix(service: str) -> str:
    return f"STOKER_{service.upper()}_"


def service_environment(layout: Layout, service: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """The environment variables of a service: those that are `given`, and what follows from the layout.

    Addresses are the layout's; where a service keeps what it stores can be given otherwise.
    """
    prefix = _prefix(service)
    peers = {
        "codestore": ("scheduler",),
        "scheduler": ("codestore",),
        "hostagent": ("scheduler", "codestore"),
        "frontend": ("scheduler", "codestore"),
    }[service]
    addresses = {f"{prefix}LISTEN_ADDRESS": layout.listen_address(service)}
    addresses |= {f"{prefix}{peer.upper()}_ADDRESS": layout.address(peer) for peer in peers}
    directory = layout.directory(service)
    stored = {
        "codestore": {
            "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/codestore.db",
            "ARTIFACTS_URL": f"file://{directory}/artifacts",
            "UPLOADS_DIR": f"{directory}/uploads",
        },
        "scheduler": {},
        "hostagent": {"HOST": layout.host, "STATE_DIR": str(directory), "IMAGES_DIR": str(layout.images_dir)},
        "frontend": {
            "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/frontend.db",
            "ADMIN_KEY_FILE": str(layout.admin_key_file),
        },
    }[service]
    return {f"{prefix}{name}": value for name, value in stored.items()} | dict(given) | addresses
