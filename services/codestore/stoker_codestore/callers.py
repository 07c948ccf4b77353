"""Who calls, as the frontend says."""

from stoker_service.metadata import ACTOR, Context, metadata_value, tenant_of

from stoker_codestore import errors, names
from stoker_codestore.alias_history import MAX_ACTOR, Cause


def calling_tenant(context: Context) -> str:
    """The tenant that a request is of.

    Raises:
        StokerError: TENANT_MISSING, or TENANT_INVALID.
    """
    tenant = tenant_of(context)
    if not names.is_name(tenant):
        raise errors.tenant_invalid()
    return tenant


def cause_of(context: Context, reason: str = "") -> Cause:
    """Who asks for a change, and why."""
    return Cause(metadata_value(context, ACTOR)[:MAX_ACTOR], reason)
