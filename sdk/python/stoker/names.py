"""How functions, aliases and qualifiers are written, and the resource names that the API makes of them."""

import re

from stoker.errors import InvalidArgument

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_HANDLER = re.compile(r"[A-Za-z_][A-Za-z0-9_/-]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
RULE = "1 to 63 lower-case letters, digits and `-`, a letter first and no `-` last"


def check_name(name: str, field: str) -> str:
    """Returns the name of a function, an alias or a tenant as it is.

    Raises:
        InvalidArgument: It is not written as one.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument("INVALID_NAME", f"{field}: {name!r} cannot be a name; use {RULE}", field=field)
    return name


def check_qualifier(qualifier: str) -> str:
    """Returns a qualifier, a version's number or an alias, as it is; an empty one means `live`.

    Raises:
        InvalidArgument: It is neither.
    """
    if qualifier and not _NAME.fullmatch(qualifier) and not _NUMBER.fullmatch(qualifier):
        raise InvalidArgument(
            "INVALID_QUALIFIER",
            f"qualifier: {qualifier!r} is neither a version's number nor an alias ({RULE})",
            field="qualifier",
        )
    return qualifier


def check_handler(handler: str) -> str:
    """Returns a handler as it is.

    Raises:
        InvalidArgument: It is not written as one.
    """
    if not _HANDLER.fullmatch(handler):
        raise InvalidArgument(
            "INVALID_HANDLER",
            f"handler: {handler!r} is not `module.function`, such as `main.handler`",
            field="handler",
        )
    return handler


def split_target(target: str) -> tuple[str, str]:
    """The function and the qualifier of `function` or `function:qualifier`.

    Raises:
        InvalidArgument: It is neither.
    """
    name, colon, qualifier = target.partition(":")
    if colon and not qualifier:
        raise InvalidArgument(
            "INVALID_QUALIFIER",
            f"qualifier: nothing follows the `:` of {target!r}; write a version's number or an alias there",
            field="qualifier",
        )
    return check_name(name, "name"), check_qualifier(qualifier)


def function_path(function: str) -> str:
    """`functions/{function}`."""
    return f"functions/{check_name(function, 'name')}"


def version_path(function: str, number: int) -> str:
    """`functions/{function}/versions/{number}`."""
    if number < 1:
        raise InvalidArgument("INVALID_VERSION", f"version: {number} is none; versions count from 1", field="version")
    return f"{function_path(function)}/versions/{number}"


def alias_path(function: str, alias: str) -> str:
    """`functions/{function}/aliases/{alias}`."""
    return f"{function_path(function)}/aliases/{check_name(alias, 'alias')}"


def rollout_path(function: str, rollout: str) -> str:
    """`functions/{function}/rollouts/{rollout}`."""
    return f"{function_path(function)}/rollouts/{rollout}"


def layer_path(layer: str) -> str:
    """`layers/{layer}`."""
    return f"layers/{check_name(layer, 'name')}"


def layer_version_path(layer: str, number: int) -> str:
    """`layers/{layer}/versions/{number}`."""
    if number < 1:
        raise InvalidArgument("INVALID_VERSION", f"version: {number} is none; versions count from 1", field="version")
    return f"{layer_path(layer)}/versions/{number}"


def split_layer(text: str, field: str) -> tuple[str, int]:
    """The layer and the number of `layer:number`.

    Raises:
        InvalidArgument: It is not written so.
    """
    name, _, number = text.partition(":")
    if not _NUMBER.fullmatch(number):
        raise InvalidArgument(
            "INVALID_LAYER", f"{field}: {text!r} is not NAME:VERSION, such as `shared:3`", field=field
        )
    return check_name(name, field), int(number)


def concurrency_path(function: str, alias: str) -> str:
    """`functions/{function}/concurrency`, or `functions/{function}/aliases/{alias}/concurrency` where one is given."""
    return f"{alias_path(function, alias) if alias else function_path(function)}/concurrency"


def last_part(path: str) -> str:
    """What follows the last `/`."""
    return path.rpartition("/")[2]


def part(path: str, index: int) -> str:
    """One part of a resource's name, counted from 0; empty where there are not so many."""
    parts = path.split("/")
    return parts[index] if index < len(parts) else ""
