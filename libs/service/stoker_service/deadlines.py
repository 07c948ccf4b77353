"""Deadlines that callers set."""

from typing import cast

from stoker_service.metadata import Context


def remaining_s(context: Context) -> float | None:
    """How long the caller still waits, in seconds, never below 0; None where it waits for ever."""
    remaining = cast("float | None", context.time_remaining())  # the stubs forget the None
    return None if remaining is None else max(0.0, remaining)
