"""What the frontend counts of calls, until it reports it."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_frontend import errors, outcome_reports
from stoker_frontend.outcome_reports import report_always
from stoker_frontend.outcomes import BUCKETS, MAX_COUNTED, Counts, Outcomes, Way, bucket_of
from stoker_frontend.routes import RouteKey

KEY = RouteKey("ann", "hello", "live")
WAYS = Way(KEY, "uid-1", 90), Way(KEY, "uid-2", 10)

ways = st.sampled_from(WAYS)
durations = st.floats(0, 10_000_000)


@given(st.lists(st.tuples(ways, st.one_of(st.none(), durations))))
def test_every_call_is_counted_once(calls: list[tuple[Way, float | None]]) -> None:
    outcomes = Outcomes()
    for way, run_ms in calls:
        if run_ms is None:
            outcomes.failed(way)
        else:
            outcomes.succeeded(way, run_ms, is_warm=True)
    taken = outcomes.take()
    assert {way: counts.calls for way, counts in taken.items()} == Counter(way for way, _ in calls)
    for way, counts in taken.items():
        assert counts.errors == calls.count((way, None))
        assert sum(counts.durations.values()) == counts.calls - counts.errors
    assert outcomes.take() == {}


@given(durations, durations)
def test_buckets_are_in_the_order_of_durations(one: float, other: float) -> None:
    assert 0 <= bucket_of(min(one, other)) <= bucket_of(max(one, other)) < BUCKETS


@given(st.floats(1.2, 700_000))
def test_a_bucket_spans_a_fifth(run_ms: float) -> None:
    assert 2 ** (bucket_of(run_ms) / 4) <= run_ms * 1.0001
    assert run_ms <= 2 ** ((bucket_of(run_ms) + 1) / 4) * 1.0001


def test_a_call_in_a_fresh_container_is_counted_without_its_duration() -> None:
    outcomes = Outcomes()
    outcomes.succeeded(WAYS[0], 500.0, is_warm=False)
    assert outcomes.take() == {WAYS[0]: Counts(calls=1)}


def test_memory_is_bounded_and_counting_begins_anew_after_each_report() -> None:
    outcomes = Outcomes()
    for number in range(2 * MAX_COUNTED):
        outcomes.failed(Way(KEY._replace(function=f"f-{number}"), "uid", 50))
    assert len(outcomes.take()) == MAX_COUNTED
    outcomes.failed(WAYS[0])
    assert list(outcomes.take()) == [WAYS[0]]


class FailingSink:
    """A codestore that is away for the first report; each time one comes, another call is counted."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        self.reports: list[dict[Way, int]] = []
        self.has_two = asyncio.Event()

    async def report_outcomes(self, counts: Mapping[Way, Counts]) -> None:
        self.reports.append({way: each.calls for way, each in counts.items()})
        self.outcomes.failed(WAYS[1])
        if len(self.reports) == 1:
            raise errors.codestore_unavailable()
        self.has_two.set()


async def test_a_report_that_may_have_arrived_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_reports, "EVERY_S", 0.001)
    outcomes = Outcomes()
    outcomes.failed(WAYS[0])
    sink = FailingSink(outcomes)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        reporting = group.create_task(report_always(outcomes, sink))
        await sink.has_two.wait()
        reporting.cancel()
    assert sink.reports == [{WAYS[0]: 1}, {WAYS[1]: 1}]
