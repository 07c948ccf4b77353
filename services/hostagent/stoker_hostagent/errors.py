"""What the host agent tells others when it cannot do what they asked for."""

from stoker_service.errors import ErrorKind, StokerError

RETRY_SOON_S = 1.0
"""When to try again what failed because another service was away: they reconnect within a second."""


def lease_stale(container: str, why: str) -> StokerError:
    """An order's lease is not, or no longer, that of its container. Nothing ran."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "LEASE_STALE",
        f"start.lease_id: {why}; nothing ran, acquire another container for what was meant for {container}",
        field="start.lease_id",
    )


def container_lost(container: str, why: str) -> StokerError:
    """A container, or the way to it, was lost while an invocation may have run."""
    return StokerError(ErrorKind.UNAVAILABLE, "CONTAINER_LOST", f"container {container} was lost: {why}")


def container_not_found(container: str) -> StokerError:
    """There is no such container here."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "CONTAINER_NOT_FOUND",
        f"container: this host has no container {container}; it ended, or is another host's",
        field="container",
    )


def container_exists(container: str) -> StokerError:
    """A container of that id is there, and is not what was asked for."""
    return StokerError(
        ErrorKind.ALREADY_EXISTS,
        "CONTAINER_EXISTS",
        f"container: there is a container {container} of another version or VM, or about to end; choose a new id",
        field="container",
    )


def wrong_tenant(vm: str, tenant: str) -> StokerError:
    """A container of one tenant was to be made in a VM that is not this tenant's."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "VM_NOT_OF_TENANT",
        f"vm: {vm} is not an active VM of tenant `{tenant}`; assign one to this tenant first",
        field="vm",
    )


def too_many_commands(limit: int) -> StokerError:
    """More commands wait than may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_COMMANDS",
        f"{limit} commands are being carried out; nothing was done, give it again later",
        retry_after_s=RETRY_SOON_S,
    )


def artifact_corrupt(sha256: str, why: str) -> StokerError:
    """What the codestore sent is not the artifact that was asked for."""
    return StokerError(
        ErrorKind.INTERNAL,
        "ARTIFACT_CORRUPT",
        f"what the codestore sent for artifact {sha256} is not it: {why}; check the codestore's object store",
    )


def artifact_unsafe(sha256: str, message: str) -> StokerError:
    """An artifact breaks the rules for archives."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION, "ARTIFACT_UNSAFE", f"artifact {sha256} must not be unpacked: {message}"
    )


def artifact_too_slow(sha256: str, limit_s: float) -> StokerError:
    """An artifact did not arrive in time."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "ARTIFACT_FETCH_TIMEOUT",
        f"artifact {sha256} did not arrive from the codestore within {limit_s:g} s; try again",
        retry_after_s=RETRY_SOON_S,
    )


def code_cache_full(needed_bytes: int, max_bytes: int) -> StokerError:
    """All code in the cache is in use, and what is asked for does not fit beside it."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "CODE_CACHE_FULL",
        f"{needed_bytes} bytes of code do not fit into the code cache of {max_bytes} bytes beside what containers use; "
        "make STOKER_HOSTAGENT_CODE_CACHE_MIB larger",
        retry_after_s=RETRY_SOON_S,
    )


def holder_missing() -> StokerError:
    """A frontend's stream does not say whose it is."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "HOLDER_MISSING",
        "the request has no metadata `stoker-holder`; send the id under which leases are acquired",
    )


def stopping() -> StokerError:
    """The host agent is about to end."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "HOST_STOPPING",
        "the host agent is stopping; nothing ran, connect again when it is back",
        retry_after_s=RETRY_SOON_S,
    )


def name_invalid(field: str, name: str) -> StokerError:
    """A name that becomes part of a path is not one that tenants or functions can have."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_FIELD",
        f"{field}: `{name[:80]}` is no name of a {field}: lower-case letters, digits and `-`, beginning with a letter",
        field=field,
    )


def command_unknown() -> StokerError:
    """A command that this host agent does not know."""
    return StokerError(
        ErrorKind.UNIMPLEMENTED,
        "COMMAND_UNKNOWN",
        "command: is none that this host agent knows; the scheduler must not be newer than the host agents",
        field="command",
    )


def chunk_not_found(sha256: str) -> StokerError:
    """Another host asked for a chunk that is not here any more."""
    return StokerError(
        ErrorKind.NOT_FOUND, "CHUNK_NOT_FOUND", f"this host has no chunk {sha256} any more; ask the codestore"
    )


def too_many_fetches(limit: int) -> StokerError:
    """More hosts fetch chunks at once than may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_FETCHES",
        f"{limit} hosts are fetching chunks from this one; ask another, or the codestore",
        retry_after_s=RETRY_SOON_S,
    )
