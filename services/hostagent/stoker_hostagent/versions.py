"""What containers run."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Layer:
    """What a version finds in `/opt`."""

    artifact_sha256: str
    artifact_size_bytes: int
    """The size of its artifact, packed."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the codestore says of who vouches for a version's code."""

    signature: bytes
    """Empty where nobody has signed it."""
    public_key: bytes
    """Empty where the tenant has the key no more."""
    is_required: bool


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a function, with all that a container needs to run it."""

    uid: str
    """Unique for ever: what containers are matched by."""
    tenant: str
    function: str
    number: int
    artifact_sha256: str
    artifact_size_bytes: int
    """The size of the artifact, packed."""
    runtime: str
    """`python3` or `nodejs`."""
    handler: str
    memory_mib: int
    timeout_s: int
    tmp_mib: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    concurrency: int = 1
    """How many invocations one container runs at once."""
    layers: tuple[Layer, ...] = ()
    """Each over those before it."""
    proof: Proof | None = None
    """None where nobody has signed it and nobody must."""
