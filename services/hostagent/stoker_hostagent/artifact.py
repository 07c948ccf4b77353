"""What the code cache holds."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Artifact:
    """A tenant's code."""

    tenant: str
    sha256: str
    size_bytes: int = field(default=0, compare=False)
    """The size of its archive; 0 where it is not known."""
