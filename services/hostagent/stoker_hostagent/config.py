"""What the host agent can be told, each by an environment variable `STOKER_HOSTAGENT_…`."""

import os
import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from stoker_service.config import ServiceSettings

MAX_HOST_ID_LENGTH = 63


def host_id_from(host_name: str) -> str:
    """A host id made of a machine's name: with `-` for what an id cannot have; `host` where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", host_name.lower())[:MAX_HOST_ID_LENGTH].strip("-") or "host"


def default_memory_mib(pages: int, page_bytes: int) -> int:
    """What VMs may have of a machine with so much memory: three quarters."""
    return max(128, pages * page_bytes // 1024**2 * 3 // 4)


def _machine_memory_mib() -> int:
    return default_memory_mib(os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE"))


class HostAgentSettings(ServiceSettings):
    """The host agent's settings."""

    model_config = SettingsConfigDict(env_prefix="STOKER_HOSTAGENT_", frozen=True, extra="ignore")

    host: str = Field(
        default_factory=lambda: host_id_from(socket.gethostname()),
        pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="The host's id, the same after a restart; by default made of the machine's host name.",
    )
    listen_address: str = Field(default="127.0.0.1:7403", description="Where frontends call, `address:port`.")
    advertised_address: str = Field(
        default="",
        description="Where frontends reach this host, `address:port`; empty for the address that is listened on.",
    )
    scheduler_address: str = Field(default="127.0.0.1:7401", description="The scheduler, a gRPC target.")
    codestore_address: str = Field(default="127.0.0.1:7402", description="The codestore, a gRPC target.")
    state_dir: Path = Field(
        default=Path("/var/lib/stoker/hostagent"), description="Code cache, logs, leases and shares; made if missing."
    )
    images_dir: Path = Field(
        default=Path("/var/lib/stoker/images"), description="Where guest images are; the newest is used."
    )
    libvirt_uri: str = Field(default="qemu:///system", description="The hypervisor, a libvirt URI.")
    accelerator: Literal["auto", "kvm", "qemu"] = Field(
        default="auto", description="What runs guests; `auto` tries whether KVM really works, and else takes `qemu`."
    )
    memory_mib: int = Field(
        default_factory=_machine_memory_mib,
        ge=128,
        description="Memory for VMs in MiB; by default three quarters of the machine's.",
    )
    vcpus: int = Field(
        default_factory=lambda: max(1, os.cpu_count() or 1) * 4,
        ge=1,
        description="Processors for VMs; by default four for each of the machine's, as functions mostly wait.",
    )
    code_cache_mib: int = Field(default=10_240, ge=1, description="How large unpacked code may get on disk, in MiB.")
    chunk_store_mib: int = Field(
        default=4096,
        ge=1,
        description="How large the chunks that code is made of may get on disk, in MiB, compressed. Of those that are "
        "there only what has changed in a new version is fetched, and other hosts are served.",
    )
    max_peer_fetches: int = Field(
        default=4, ge=1, le=100, description="How many other hosts may fetch chunks of this one at once."
    )
    code_fetches: int = Field(default=4, ge=1, le=64, description="How many artifacts are fetched at once.")
    code_fetch_s: float = Field(
        default=120.0,
        gt=0,
        le=900,
        description="How long fetching an artifact may take with all attempts, in seconds.",
    )
    trusted_keys_dir: Path | None = Field(
        default=None,
        description="Public keys as PEM, `*.pub` for all tenants and `<tenant>/*.pub` for one: only code signed by one "
        "of these runs on this host, whatever the codestore says. None for the codestore's word.",
    )
    log_function_mib: int = Field(
        default=8, ge=1, le=1024, description="How much is kept of what one function printed, in MiB."
    )
    log_total_mib: int = Field(default=1024, ge=1, description="How much is kept of what all of them printed, in MiB.")
    template_shapes: str = Field(
        default="1x512",
        pattern="^([0-9]+x[0-9]+(,[0-9]+x[0-9]+)*)?$",
        description="The shapes of which templates are made at start-up, `<vCPUs>x<MiB>` with commas between. Of "
        "others one is made when the first VM is asked for.",
    )
    templates_mib: int = Field(
        default=4096,
        ge=0,
        description="How much disk templates may take, in MiB; those unused for longest go first. 0 for none: all VMs "
        "are booted.",
    )
    blank_containers: int = Field(
        default=1,
        ge=0,
        le=8,
        description="How many containers of each language runtime wait without code in each VM, where memory is free.",
    )
    load_s: float = Field(
        default=30.0, gt=0, le=900, description="How long a function's code may take to be loaded, in seconds."
    )
    max_invocations: int = Field(
        default=1000, ge=1, description="How many invocations one frontend may have running here at once."
    )
    max_unsent_mib: int = Field(
        default=64,
        ge=8,
        description="How much of answers may wait for one frontend in MiB, before no more of its orders are read.",
    )
    holder_return_s: float = Field(
        default=10.0,
        ge=0,
        le=300,
        description="How long after a restart leases granted before it are still taken, in seconds.",
    )
