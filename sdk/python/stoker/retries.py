"""Whether and when a failed call is tried again.

A retry costs a token of the client's budget, which only calls that succeed fill up again, so that a client adds little
to the load of a server that fails all it is asked (after gRPC's retry throttling, gRFC A6).
"""

import random
from collections.abc import Callable
from enum import Enum

from stoker.errors import StokerError, Unavailable

MAX_ATTEMPTS = 4
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 2.0
MAX_TOKENS = 10.0
TOKENS_PER_SUCCESS = 0.1

NOTHING_RAN = frozenset(
    {
        "CODESTORE_UNAVAILABLE",
        "DATABASE_UNAVAILABLE",
        "HOST_BUSY",
        "LEASE_STALE",
        "SCHEDULER_UNAVAILABLE",
        "TOO_MANY_INVOCATIONS",
        "UNREACHABLE",
    }
)
"""The reasons that say of an invocation that nothing ran. NO_CAPACITY does too, but only after a long wait."""


class Retry(Enum):
    """Which failures of a call may be followed by another attempt."""

    NEVER = "never"
    """None: the call may have had its effect, and must not have it twice."""
    WHEN_UNAVAILABLE = "when_unavailable"
    """Those with status UNAVAILABLE: the call may be made twice."""
    WHEN_NOTHING_RAN = "when_nothing_ran"
    """Those whose reason says that nothing ran."""


def is_retried(retry: Retry, error: StokerError) -> bool:
    """Whether another attempt may follow after `error`."""
    match retry:
        case Retry.NEVER:
            return False
        case Retry.WHEN_UNAVAILABLE:
            return isinstance(error, Unavailable)
        case Retry.WHEN_NOTHING_RAN:
            return error.reason in NOTHING_RAN


class RetryBudget:
    """How many retries a client still has. It is not locked: a lost update costs a tenth of a retry."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        """Begins full; `jitter` returns numbers from 0 to 1."""
        self._tokens = MAX_TOKENS
        self._jitter = jitter

    def succeeded(self) -> None:
        """Notes a call that succeeded."""
        self._tokens = min(MAX_TOKENS, self._tokens + TOKENS_PER_SUCCESS)

    def delay_s(self, retry: Retry, error: StokerError, attempts: int, remaining_s: float) -> float | None:
        """How long to wait before the next attempt, in seconds; None for none, which is then the error's end.

        Args:
            retry: Which failures of this call are retried.
            error: How the last attempt failed.
            attempts: How many there have been.
            remaining_s: How long the call may still take, in seconds.
        """
        if not is_retried(retry, error) or attempts >= MAX_ATTEMPTS or self._tokens < 1:
            return None
        longest_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (attempts - 1))
        delay_s = max(error.retry_after_s or 0.0, longest_s * (0.5 + self._jitter() / 2))
        if delay_s >= remaining_s:
            return None
        self._tokens -= 1
        return delay_s
