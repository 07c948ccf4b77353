"""Request metadata that services set for each other."""

from typing import Any, TypeAlias

import grpc.aio

from stoker_service.errors import ErrorKind, StokerError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""What gRPC tells a handler of its call."""

TENANT = "stoker-tenant"
"""Names the tenant that the frontend has authenticated."""

ACTOR = "stoker-actor"
"""Names who asks, for the history: the public id of the API key that the frontend has authenticated."""

HOLDER = "stoker-holder"
"""Names the frontend process that holds leases."""


def metadata_value(context: Context, key: str) -> str:
    """The first value of a metadata key; empty where there is none."""
    for name, value in context.invocation_metadata() or ():
        if name == key:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return ""


def tenant_of(context: Context) -> str:
    """The tenant that a request of the frontend is for.

    Raises:
        StokerError: UNAUTHENTICATED (TENANT_MISSING) where the request names none.
    """
    tenant = metadata_value(context, TENANT)
    if not tenant:
        raise StokerError(
            ErrorKind.UNAUTHENTICATED,
            "TENANT_MISSING",
            f"the request has no metadata `{TENANT}`; call the frontend, which sets it",
        )
    return tenant
