"""What calls return: facts, as frozen values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Required, TypedDict

from stoker.errors import FunctionFailed
from stoker.rollovers import RolloverEffect

JSON = "application/json"
"""The media type of JSON, which runtimes parse."""


class Runtime(StrEnum):
    """What runs a version's code."""

    UNKNOWN = "unknown"
    """One that this client is too old to know."""
    PYTHON3 = "python3"
    NODEJS = "nodejs"


class Start(StrEnum):
    """How an invocation found its container."""

    UNKNOWN = "unknown"
    COLD = "cold"
    """A container had to be made."""
    PRIMED = "primed"
    """A blank container was waiting and only had to load the code."""
    WARM = "warm"
    """A container had the code loaded."""


class FunctionErrorKind(StrEnum):
    """In which way a function failed."""

    UNKNOWN = "unknown"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    EXIT = "exit"
    OUT_OF_MEMORY = "out_of_memory"
    RESPONSE_TOO_LARGE = "response_too_large"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class Function:
    """A named function."""

    name: str
    uid: str
    description: str
    latest_version: int
    """The number of the newest version; 0 while there is none."""
    create_time: datetime
    update_time: datetime
    etag: str
    versions_kept: int = 0
    """How many of the newest versions are kept; 0 for as many as the operator has set."""


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable snapshot of a function's code and configuration."""

    function: str
    number: int
    uid: str
    artifact_sha256: str
    runtime: Runtime
    handler: str
    memory_mib: int
    timeout_s: int
    environment: Mapping[str, str]
    tmp_mib: int
    description: str
    create_time: datetime
    concurrency: int = 1
    """How many invocations one container runs at once."""
    layers: tuple[str, ...] = ()
    """What it finds in `/opt`, as `layer:number`, each over those before it."""
    signing_key_id: str = ""
    """The id of the key that its code is signed with; empty where it is not signed."""


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """A version of a layer: files that functions find in `/opt`."""

    layer: str
    number: int
    artifact_sha256: str
    size_bytes: int
    description: str
    create_time: datetime


class VersionOptions(TypedDict, total=False):
    """What a version is, beside its code. What is left out, or 0, is the server's default."""

    runtime: Required[Runtime | str]
    handler: Required[str]
    """`module.function`."""
    memory_mib: int
    """The memory of a container, from 64 up; 128 by default."""
    timeout_s: int
    """How long one invocation may take, up to 900; 30 by default."""
    environment: Mapping[str, str]
    tmp_mib: int
    """The size of a container's `/tmp`; 64 by default. It counts towards its memory."""
    description: str
    concurrency: int
    """How many invocations one container runs at once, up to 100; 1 by default. More need an asynchronous handler."""
    layers: Sequence[str]
    """Layers that the function finds in `/opt`, as `layer:number`, up to five; each over those before it."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name of one version, or of two with weights."""

    function: str
    name: str
    routes: Mapping[int, int]
    """Each version's share of invocations in percent."""
    update_time: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many invocations a function may run at once, and how many containers are kept for it or for an alias."""

    function: str
    alias: str
    """Empty for the function's own setting."""
    provisioned: int
    """Containers kept loaded; a function's are of the versions that `live` names."""
    maximum: int
    """How many invocations may run at once; 0 for as many as the tenant may. Only a function has it."""
    loaded: int | None
    """Containers that are loaded now; None while the scheduler is away."""
    leased: int | None
    """Those of them that are under a lease now; None while the scheduler is away."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version's code, known by its SHA-256."""

    sha256: str
    format: str
    """`zip`, `tar.gz` or `unknown`."""
    size_bytes: int
    unpacked_size_bytes: int
    file_count: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Deployment:
    """What `deploy` has done."""

    version: Version
    alias: Alias | None
    """The alias that now names the version; None where none was to be moved."""
    artifact: Artifact
    is_new_function: bool
    is_new_version: bool
    """False where the newest version was this very one already."""
    was_uploaded: bool
    """False where the server had the same code already."""


@dataclass(frozen=True, slots=True)
class FunctionError:
    """A failure of the function, told apart from a failure of Stoker."""

    kind: FunctionErrorKind
    type: str
    """The exception's type, or a word for the kind."""
    message: str
    stack_trace: Sequence[str]
    """The stack, innermost last, a line a frame."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one invocation went, in milliseconds."""

    queue_ms: float
    """Until a container was there, less `init_ms`."""
    init_ms: float
    """Making the container and loading the code."""
    run_ms: float
    """In the handler."""
    total_ms: float
    """In Stoker altogether."""


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """What an invocation answered, and how it went."""

    payload: bytes = field(repr=False)
    content_type: str
    function_error: FunctionError | None
    executed_version: int
    start: Start
    timings: Timings
    invocation_id: str
    container: str
    vm: str
    host: str
    log_tail: str
    """The end of what the invocation printed, where asked for."""
    rollover: RolloverEffect | None = None
    """Set where the version that the alias points to was not at hand, and there was one before it."""

    @property
    def is_json(self) -> bool:
        """Whether the payload is JSON."""
        return self.content_type.partition(";")[0].strip() == JSON

    def json(self) -> Any:
        """The payload, parsed as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.payload)

    def raise_for_error(self) -> "InvokeResult":
        """Returns the result itself where the function did not fail.

        Raises:
            FunctionFailed: It did.
        """
        if self.function_error is not None:
            raise FunctionFailed(self, self.function_error)
        return self


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a function printed."""

    time: datetime
    version: int
    invocation_id: str
    """Empty for what was printed while loading."""
    container: str
    stream: str
    """`stdout` or `stderr`."""
    line: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns functions."""

    id: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant that was just made, with its first key, which is shown this once."""

    tenant: Tenant
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with a hypervisor and a host agent."""

    id: str
    address: str
    accelerator: str
    """`kvm` or `qemu` (software emulation)."""
    accelerator_reason: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine."""

    id: str
    host: str
    tenant: str
    """Empty in the warming pool."""
    state: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Container:
    """A container in a VM."""

    id: str
    vm: str
    function: str
    version: int
    state: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """All hosts, VMs and containers of one moment."""

    hosts: Sequence[Host]
    vms: Sequence[Vm]
    containers: Sequence[Container]
