"""What the host asks, checked: a name must not become a path, nor a number an absurd limit."""

import re
from collections.abc import Mapping
from pathlib import Path

from stoker_ttrpc.errors import Code, RpcError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", re.ASCII)
PATH_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", re.ASCII)
INVOCATION = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
MACHINE_ID = re.compile(r"([0-9a-f]{32})?", re.ASCII)
TRACEPARENT = re.compile(r"([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?", re.ASCII)


def name(field: str, value: str) -> str:
    """A name of letters, digits and `-`.

    Raises:
        RpcError: INVALID_ARGUMENT; it is none.
    """
    return _matching(field, value, NAME, "1 to 63 letters, digits and '-', the first a letter or digit")


def invocation_id(field: str, value: str) -> str:
    """An invocation's id; raises as `name` does."""
    return _matching(field, value, INVOCATION, "1 to 128 letters, digits, '.', '_' and '-'")


def traceparent(field: str, value: str) -> str:
    """A W3C trace context, or nothing; raises as `name` does."""
    return _matching(field, value, TRACEPARENT, "a W3C traceparent, or empty")


def machine_id(field: str, value: str) -> str:
    """A machine id, or nothing; raises as `name` does."""
    return _matching(field, value, MACHINE_ID, "32 hexadecimal digits in lower case, or empty")


def relative_path(field: str, value: str) -> Path:
    """A path that leads downwards; raises as `name` does."""
    parts = value.split("/")
    for part in parts:
        _matching(field, part, PATH_PART, "a relative path of letters, digits, '.', '_' and '-' without '..'")
    return Path(*parts)


def within(field: str, value: int, low: int, high: int) -> int:
    """A number within limits; raises as `name` does."""
    if not low <= value <= high:
        raise _refusal(field, str(value), f"from {low} to {high}")
    return value


def environment(field: str, value: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that a process can have; raises as `name` does."""
    for key, text in value.items():
        if not key or "=" in key or "\0" in key + text:
            raise _refusal(field, key, "names that aren't empty and have no '=', and no zero bytes")
    return dict(value)


def _matching(field: str, value: str, pattern: "re.Pattern[str]", allowed: str) -> str:
    if not pattern.fullmatch(value):
        raise _refusal(field, value, allowed)
    return value


def _refusal(field: str, value: str, allowed: str) -> RpcError:
    return RpcError(Code.INVALID_ARGUMENT, f"{field}: {value[:80]!r} is not allowed; it must be {allowed}")
