"""Deadlines that callers set."""

import grpc.aio


def remaining_s(context: grpc.aio.ServicerContext) -> float | None:
    """How long the caller still waits, in seconds, never below 0; None where it waits for ever."""
    remaining = context.time_remaining()
    return None if remaining is None else max(0.0, remaining)
