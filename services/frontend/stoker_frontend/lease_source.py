"""Where leases come from, and what comes from there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stoker_frontend.lease_pool import Lease
from stoker_frontend.routes import Version
from stoker_frontend.runs import FunctionFailure, Start


@dataclass(frozen=True, slots=True)
class Grant:
    """A container for the next invocation."""

    lease: Lease
    start: Start
    init_ms: float = 0.0
    """How long making it took, in milliseconds; 0 for a warm start."""
    ttl_s: float | None = None
    """How long the lease holds without being renewed, in seconds; None where it was granted before."""


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A container was made, and the version's code could not be loaded in it."""

    failure: FunctionFailure
    start: Start
    init_ms: float


@dataclass(frozen=True, slots=True)
class Renewal:
    """What became of leases that were to be prolonged."""

    ended_ids: Sequence[str]
    ttl_s: float
    """How long the others hold from now, in seconds."""


class LeaseSource(Protocol):
    """Where leases come from: the scheduler."""

    def is_away(self) -> bool:
        """Whether there is no connection, although one is wanted."""
        ...

    async def acquire(self, version: Version, wait_s: float) -> Grant | LoadFailure:
        """Leases a container, waiting up to `wait_s` for the source and for capacity.

        Raises:
            StokerError: The source's own, or UNAVAILABLE when it is away.
        """
        ...

    async def release(self, lease_id: str, *, is_broken: bool) -> None:
        """Gives a lease back, within a bounded time.

        Raises:
            StokerError: The source is away; the lease then ends by itself.
        """
        ...

    async def renew(self, lease_ids: Sequence[str]) -> Renewal:
        """Prolongs leases, 10,000 at the most, within a bounded time.

        Raises:
            StokerError: The source is away.
        """
        ...
