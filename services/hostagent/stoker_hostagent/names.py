"""Names of tenants and functions, which become parts of paths."""

import re

from stoker_hostagent import errors

_NAME = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def check_name(field: str, name: str) -> str:
    """Returns a name that is safe as part of a path.

    Raises:
        StokerError: INVALID_FIELD, for a name that neither a tenant nor a function can have.
    """
    if not _NAME.fullmatch(name):
        raise errors.name_invalid(field, name)
    return name
