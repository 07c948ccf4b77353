"""What tenants may, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a tenant may store. Where it is what is set for one tenant, 0 stands for the operator's default."""

    max_artifact_bytes: int
    """The largest artifact, packed."""
    max_artifacts: int
    max_total_bytes: int
    """All artifacts together, packed."""
    max_functions: int
    max_versions: int
    """Of all functions together."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a tenant has stored."""

    artifacts: int
    total_bytes: int
    functions: int
    versions: int


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What is set for a tenant, and how it stands."""

    tenant: str
    require_signed: bool
    """Whether only signed code may be published and run."""
    quota: Quota
    """What is set for it."""
    effective_quota: Quota
    """What counts: what is set, and for the rest the operator's defaults."""
    usage: Usage
