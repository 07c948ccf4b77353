"""Whether and when a failed call is tried again: decisions without I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker.errors import NotFound, ResourceExhausted, Unavailable
from stoker.retries import MAX_ATTEMPTS, MAX_TOKENS, Retry, RetryBudget

AWAY = Unavailable("AWAY", "away")


@given(
    retry=st.sampled_from(list(Retry)),
    attempts=st.integers(1, MAX_ATTEMPTS + 2),
    remaining_s=st.floats(0, 100),
    retry_after_s=st.none() | st.floats(0, 100),
)
def test_a_retry_is_within_the_deadline_and_not_before_the_server_wants_it(
    retry: Retry, attempts: int, remaining_s: float, retry_after_s: float | None
) -> None:
    error = Unavailable("LEASE_STALE", "again", retry_after_s=retry_after_s)
    delay_s = RetryBudget().delay_s(retry, error, attempts, remaining_s)
    if delay_s is not None:
        assert retry is not Retry.NEVER
        assert attempts < MAX_ATTEMPTS
        assert (retry_after_s or 0) <= delay_s < remaining_s


def test_a_budget_that_is_spent_ends_retries_until_calls_succeed() -> None:
    budget = RetryBudget(lambda: 0.0)
    for _ in range(int(MAX_TOKENS)):
        assert budget.delay_s(Retry.WHEN_UNAVAILABLE, AWAY, 1, 10) is not None
    assert budget.delay_s(Retry.WHEN_UNAVAILABLE, AWAY, 1, 10) is None
    for _ in range(11):
        budget.succeeded()
    assert budget.delay_s(Retry.WHEN_UNAVAILABLE, AWAY, 1, 10) is not None


@pytest.mark.parametrize(
    ("retry", "error", "is_retried"),
    [
        (Retry.NEVER, AWAY, False),
        (Retry.WHEN_UNAVAILABLE, AWAY, True),
        (Retry.WHEN_UNAVAILABLE, NotFound("GONE", ""), False),
        (Retry.WHEN_NOTHING_RAN, AWAY, False),
        (Retry.WHEN_NOTHING_RAN, Unavailable("CONTAINER_LOST", ""), False),
        (Retry.WHEN_NOTHING_RAN, Unavailable("CONNECTION_LOST", ""), False),
        (Retry.WHEN_NOTHING_RAN, Unavailable("UNREACHABLE", ""), True),
        (Retry.WHEN_NOTHING_RAN, ResourceExhausted("HOST_BUSY", ""), True),
        (Retry.WHEN_NOTHING_RAN, ResourceExhausted("NO_CAPACITY", ""), False),
    ],
)
def test_only_what_may_be_repeated_is(retry: Retry, error: Unavailable, is_retried: bool) -> None:
    assert (RetryBudget().delay_s(retry, error, 1, 10) is not None) is is_retried
