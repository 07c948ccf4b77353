"""What the host agent says to guest agents and hears from them, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """What a guest agent says of itself."""

    image: str
    """The id of the guest image it comes from."""
    boot_id: str
    container_memory_mib: int
    """What of the VM's memory containers may use, in MiB."""
    runtimes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FunctionIdentity:
    """What the context object tells a handler of its function."""

    tenant: str
    function: str
    version: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Code:
    """What is loaded into a blank container."""

    share: str
    """The mounted share that holds it; `shares.CODE` for a tenant's code."""
    path: str
    """Its directory in that share: for a tenant's code the artifact's SHA-256."""
    handler: str
    """`module.function`."""
    environment: Mapping[str, str]
    timeout_ms: int
    """How long importing may take, in milliseconds."""
    identity: FunctionIdentity
    label: bytes
    """Kept with the container and given back by `list_containers`; the guest does not read it."""
    name: str = ""
    """The id that the container has from now on; empty leaves it as it is."""
    memory_mib: int = 0
    """The limit on its memory from now on, in MiB; 0 leaves it as it is."""
    tmp_mib: int = 0
    """The size of its `/tmp` from now on, in MiB; 0 leaves it as it is."""
    concurrency: int = 1
    """How many invocations it runs at once."""
    layers: tuple[str, ...] = ()
    """Directories in that share that the container sees together at `/opt`, each over those before it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of the function's own."""

    kind: int
    """A number of `stoker.v1.FunctionErrorKind`."""
    type: str
    message: str
    stack_trace: tuple[str, ...]
    """Innermost last."""


@dataclass(frozen=True, slots=True)
class GuestSpan:
    """A span measured in the guest, by the guest's clock."""

    name: str
    start_unix_ns: int
    end_unix_ns: int
    span_id: str
    """16 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """How loading code ended."""

    failure: Failure | None
    """Set where the code could not be loaded; the container is gone then."""
    spans: tuple[GuestSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a loaded container's handler."""

    container: str
    id: str
    payload: bytes
    content_type: str
    timeout_ms: int
    """How long the handler may take, in milliseconds."""
    traceparent: str
    """W3C trace context; empty for none."""
    max_response_bytes: int


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """How an invocation ended."""

    payload: bytes
    content_type: str
    failure: Failure | None
    """Set when the function failed."""
    run_ns: int
    """In the handler, in nanoseconds."""
    log_tail: bytes
    """The last 4 KiB of what it printed."""
    is_container_lost: bool
    spans: tuple[GuestSpan, ...]


@dataclass(frozen=True, slots=True)
class GuestContainer:
    """A container as its guest lists it."""

    id: str
    is_loaded: bool
    label: bytes
    """What was given with the code; empty before."""
    runtime: str = ""
