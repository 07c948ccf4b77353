"""What the scheduler tells callers when it cannot do what they asked for."""

from stoker_service.errors import ErrorKind, StokerError

RETRY_SOON_S = 1.0
"""When to try again what failed because of a full queue or a lost host."""


def queue_full(limit: int) -> StokerError:
    """As many demands wait as may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        f"{limit} demands wait for capacity already; nothing ran, try again later",
        retry_after_s=RETRY_SOON_S,
    )


def queue_full_for_tenant(tenant: str, limit: int) -> StokerError:
    """As many demands of one tenant wait as may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        f"{limit} demands of tenant {tenant} wait for capacity already; nothing ran, try again later",
        metadata={"tenant": tenant},
        retry_after_s=RETRY_SOON_S,
    )


def function_limit(function: str, maximum: int) -> StokerError:
    """As many invocations of a function run as may, or wait for a container."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "FUNCTION_CONCURRENCY",
        f"functions/{function} runs {maximum} invocations at once already, which is its maximum; nothing ran, "
        f"try again later, or raise `maximum` of functions/{function}/concurrency",
        metadata={"maximum": str(maximum)},
        retry_after_s=RETRY_SOON_S,
        quota=f"functions/{function}",
    )


def tenant_limit(tenant: str, limit: int) -> StokerError:
    """As many invocations of a tenant run as may, or wait for a container."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TENANT_CONCURRENCY",
        f"tenant {tenant} runs {limit} invocations at once already, which is its maximum; nothing ran, "
        "try again later, or ask the operator for more",
        metadata={"maximum": str(limit)},
        retry_after_s=RETRY_SOON_S,
        quota=f"tenants/{tenant}",
    )


def too_large(memory_mib: int, largest_mib: int) -> StokerError:
    """No connected host could ever hold the container."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_LARGE",
        f"spec.memory_mib: {memory_mib} MiB is more than any connected host can give one container; "
        f"the largest is {largest_mib} MiB: ask for less, or connect a larger host",
        field="spec.memory_mib",
        metadata={"largest_mib": str(largest_mib)},
    )


def deadline_exceeded() -> StokerError:
    """The caller's deadline came while its demand waited."""
    return StokerError(
        ErrorKind.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        "the deadline came before a container was there; nothing ran",
        metadata={"phase": "queue"},
    )


def no_capacity_in_time(wait_s: float) -> StokerError:
    """A demand without a deadline waited as long as any may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "NO_CAPACITY",
        f"no container became free within {wait_s:g} s; nothing ran, try again later",
        retry_after_s=RETRY_SOON_S,
    )


def not_made(attempts: int, reason: str, message: str) -> StokerError:
    """Hosts failed, one after the other, to give the container; `reason` is why the last one did."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        reason,
        f"{attempts} attempts to get a container failed, the last because {message}; nothing ran, try again",
        retry_after_s=RETRY_SOON_S,
    )


def stopping() -> StokerError:
    """The scheduler is being stopped."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "STOPPING",
        "the scheduler is stopping; nothing ran, try again",
        retry_after_s=RETRY_SOON_S,
    )


def snapshot_missing() -> StokerError:
    """A host's first report was something else."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "SNAPSHOT_MISSING",
        "snapshot: the first report of a stream must be a snapshot of all the host has, and no later one may be",
        field="snapshot",
    )


def stream_replaced(host: str) -> StokerError:
    """The host has opened another stream."""
    return StokerError(
        ErrorKind.ABORTED, "STREAM_REPLACED", f"host {host} has opened another stream, which counts from now on"
    )
