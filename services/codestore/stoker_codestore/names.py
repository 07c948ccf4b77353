"""Resource names, as requests have them: their form has been checked against the proto's rules."""

import re

_NAME = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile("[1-9][0-9]{0,17}")


def is_name(text: str) -> bool:
    """Whether something can be the name of a tenant, a function or an alias."""
    return _NAME.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Whether something can be the number of a version."""
    return _NUMBER.fullmatch(text) is not None


def function_in(name: str) -> str:
    """The function that a name, `functions/{function}` or one below it, names."""
    return name.split("/")[1]


def version_in(name: str) -> int:
    """The version that `functions/{function}/versions/{number}` names, or `layers/{layer}/versions/{number}`."""
    return int(name.split("/")[3])


def layer_in(name: str) -> str:
    """The layer that a name, `layers/{layer}` or one below it, names."""
    return name.split("/")[1]


def alias_in(name: str) -> str:
    """The alias that `functions/{function}/aliases/{alias}` names."""
    return name.split("/")[3]


def rollout_in(name: str) -> str:
    """The rollout that `functions/{function}/rollouts/{rollout}` names."""
    return name.split("/")[3]


def alias_of_setting(name: str) -> str:
    """The alias that `functions/{function}/aliases/{alias}/concurrency` names; empty for a function's own setting."""
    parts = name.split("/")
    return parts[3] if parts[2] == "aliases" else ""


def sha256_in(name: str) -> str:
    """The digest that `artifacts/{sha256}` names."""
    return name.split("/")[1]
