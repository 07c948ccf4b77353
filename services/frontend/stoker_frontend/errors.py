"""What the frontend tells callers when it cannot do what they asked for."""

from stoker_service.errors import ErrorKind, StokerError

RETRY_SOON_S = 1.0
"""When to try again what failed because another service was away: they reconnect within a second."""


def api_key_missing() -> StokerError:
    """The request carries no key."""
    return StokerError(
        ErrorKind.UNAUTHENTICATED,
        "API_KEY_MISSING",
        "the request has no API key; send metadata `authorization: Bearer stk.…`",
    )


def api_key_invalid() -> StokerError:
    """The request carries something that is no key, or a key that is not or no longer known."""
    return StokerError(
        ErrorKind.UNAUTHENTICATED,
        "API_KEY_INVALID",
        "the API key is malformed, unknown or revoked; ask the operator for another",
    )


def admin_key_required() -> StokerError:
    """A tenant's key was used on the operators' API."""
    return StokerError(
        ErrorKind.PERMISSION_DENIED, "ADMIN_KEY_REQUIRED", "this is the operators' API; send the admin key"
    )


def tenant_key_required() -> StokerError:
    """The admin key was used on a tenant's API."""
    return StokerError(
        ErrorKind.PERMISSION_DENIED,
        "TENANT_KEY_REQUIRED",
        "the admin key belongs to no tenant; send a tenant's API key (TenantService.CreateApiKey makes one)",
    )


def tenant_exists(tenant: str) -> StokerError:
    """There is a tenant of that name."""
    return StokerError(
        ErrorKind.ALREADY_EXISTS,
        "TENANT_EXISTS",
        f"tenant_id: there is a tenant `{tenant}`; CreateApiKey makes one more key for it",
        field="tenant_id",
    )


def tenant_not_found(tenant: str) -> StokerError:
    """There is no tenant of that name."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "TENANT_NOT_FOUND",
        f"tenant_id: there is no tenant `{tenant}`; CreateTenant makes it",
        field="tenant_id",
    )


def api_key_not_found(key_id: str) -> StokerError:
    """There is no key with that id."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "API_KEY_NOT_FOUND",
        f"key_id: there is no API key with the id `{key_id}`; it stands between the first and the second `.` of a key",
        field="key_id",
    )


def request_too_large(size_bytes: int, limit_bytes: int) -> StokerError:
    """A request is larger than any that can be meant."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "REQUEST_TOO_LARGE",
        f"the request has {size_bytes} bytes, and {limit_bytes} are the most; artifacts go in chunks of up to 1 MiB",
    )


def too_many_tails(limit: int) -> StokerError:
    """As many callers read logs as may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_TAILS",
        f"this frontend already reads logs for {limit} callers; end one, or try again later",
        retry_after_s=RETRY_SOON_S,
    )


def frontend_stopping() -> StokerError:
    """The frontend is being stopped, and with it the following of logs."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "FRONTEND_STOPPING",
        "this frontend is being stopped; follow the logs again",
        retry_after_s=RETRY_SOON_S,
    )


def database_unavailable() -> StokerError:
    """The database of tenants and keys does not answer."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "DATABASE_UNAVAILABLE",
        "the database of tenants and API keys does not answer; try again",
        retry_after_s=RETRY_SOON_S,
    )


def codestore_unavailable() -> StokerError:
    """The codestore does not answer."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "CODESTORE_UNAVAILABLE",
        "the codestore does not answer; try again",
        retry_after_s=RETRY_SOON_S,
    )


def scheduler_unavailable() -> StokerError:
    """The scheduler does not answer, and the request needed it."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "SCHEDULER_UNAVAILABLE",
        "the scheduler does not answer; nothing ran, try again",
        retry_after_s=RETRY_SOON_S,
    )


def no_live_alias(function: str) -> StokerError:
    """The function has no alias `live`, and the request names no qualifier."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "ALIAS_NOT_FOUND",
        f"functions/{function} has no alias `live`; deploy it (`stoker deploy`), or name a version as the qualifier",
    )


def too_many_invocations(limit: int) -> StokerError:
    """The frontend runs as many invocations as it may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_INVOCATIONS",
        f"this frontend already runs {limit} invocations; nothing ran, try again",
        retry_after_s=RETRY_SOON_S,
    )


def host_busy(host: str) -> StokerError:
    """More waits to be sent to a host than may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "HOST_BUSY",
        f"host {host} does not keep up with what is sent to it; nothing ran, try again",
        retry_after_s=RETRY_SOON_S,
    )


def no_capacity_in_time(wait_s: float) -> StokerError:
    """No container became free or could be made within the longest wait there is."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "NO_CAPACITY",
        f"no container became free within {wait_s:g} s; nothing ran, try again later",
        retry_after_s=RETRY_SOON_S,
    )


def deadline_exceeded(phase: str) -> StokerError:
    """The caller's deadline has come while the invocation was in `phase`, `queue` or `run`."""
    message = {
        "queue": "the deadline came before a container was there; nothing ran",
        "run": "the deadline came while the function ran; it was stopped",
    }[phase]
    return StokerError(ErrorKind.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message, metadata={"phase": phase})


def container_lost(message: str) -> StokerError:
    """The container or the way to it was lost while the function may have run."""
    return StokerError(ErrorKind.UNAVAILABLE, "CONTAINER_LOST", f"it may have run; {message}")


def leases_stale(attempts: int) -> StokerError:
    """One container after the other turned out not to be leased any more."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "LEASE_STALE",
        f"{attempts} containers in a row were no longer there; nothing ran, try again",
        retry_after_s=RETRY_SOON_S,
    )
