"""How durations are typed and shown."""

import re

from stoker.cli.failures import UsageError

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)?")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str, option: str) -> float:
    """The seconds of `60s`, `5m`, `1.5h`, `2d`, or `60`.

    Raises:
        UsageError: It is not written so.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise UsageError(f"{option}: `{text}` is no duration; write `60s`, `5m`, `1h` or `1d`")
    return float(match[1]) * _UNITS_S[match[2] or "s"]


def shown(seconds: float) -> str:
    """A duration in the largest unit that divides it."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:g}{unit}"
    return f"{seconds:g}s"
