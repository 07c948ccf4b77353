"""The judgement of a new version against the old one: its bound on false alarms, and how soon it sees what is bad."""

import math
from collections.abc import Mapping
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_codestore.outcomes import BUCKETS, Outcomes, upper_ms
from stoker_codestore.rollout_verdict import (
    ERRORS_ALPHA,
    SLOW_ALPHA,
    TILTS,
    Evidence,
    Table,
    log_ratios,
    stratum_size,
)

from tests.codestore.rollout_trials import BATCH, Behaviour, calls_to_find, trial

pytestmark = pytest.mark.thorough

counts = st.integers(0, 40)
durations = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 100), max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    new, old = draw(counts), draw(counts)
    return Table(new, old, draw(st.integers(0, new)), draw(st.integers(0, old)))


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    of_successes = draw(durations)
    errors = draw(st.integers(0, 100))
    return Outcomes(sum(of_successes.values()) + errors, errors, of_successes)


@given(counts, counts, st.data())
def test_a_bet_is_fair_where_versions_are_alike(new: int, old: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, new + old))
    expected = [0.0] * len(TILTS)
    for bad_new in range(max(0, bad - old), min(bad, new) + 1):
        likelihood = math.comb(new, bad_new) * math.comb(old, bad - bad_new) / math.comb(new + old, bad)
        for number, gain in enumerate(log_ratios(Table(new, old, bad_new, bad - bad_new))):
            expected[number] += likelihood * math.exp(gain)
    assert expected == pytest.approx([1.0] * len(TILTS))


@given(tables())
def test_one_bad_call_less_of_the_new_version_never_speaks_against_it(table: Table) -> None:
    if table.bad_new:
        fewer = Table(table.new, table.old, table.bad_new - 1, table.bad_old)
        for less, more in zip(log_ratios(fewer), log_ratios(table), strict=True):
            assert less <= more + 1e-9


@given(st.integers(1, 100))
def test_what_hits_all_calls_says_nothing(calls: int) -> None:
    assert list(log_ratios(Table(calls, calls, calls, calls))) == [0.0] * len(TILTS)
    assert list(log_ratios(Table(calls, calls, 0, 0))) == [0.0] * len(TILTS)


@given(st.lists(st.tuples(outcomes(), outcomes()), max_size=5), st.integers(1, 99))
def test_evidence_never_shrinks_and_loses_no_call(reports: list[tuple[Outcomes, Outcomes]], weight: int) -> None:
    evidence = Evidence()
    for old, new in reports:
        before, evidence = evidence, evidence.with_calls(old, new, weight)
        assert evidence.errors_p <= before.errors_p
        assert evidence.slow_p <= before.slow_p
    evidence = evidence.ended()
    assert evidence.old == sum((old for old, _ in reports), Outcomes())
    assert evidence.new == sum((new for _, new in reports), Outcomes())


@given(outcomes(), outcomes())
def test_counts_of_frontends_add_up(one: Outcomes, other: Outcomes) -> None:
    both = one + other
    assert (both.calls, both.errors) == (one.calls + other.calls, one.errors + other.errors)
    assert both == other + one
    assert both.successes == both.calls - both.errors


@given(durations.filter(bool), st.floats(0.01, 1))
def test_a_quantile_has_its_share_below(of_successes: Mapping[int, int], share: float) -> None:
    known = Outcomes(sum(of_successes.values()), 0, of_successes)
    quantile = known.quantile(share)
    assert quantile is not None
    below = known.successes - known.longer_than(quantile)
    assert below >= share * known.successes - 1e-9
    assert below - of_successes[quantile] < share * known.successes + 1e-9


def test_buckets_grow_by_a_fifth_to_beyond_the_longest_timeout() -> None:
    assert upper_ms(4) / upper_ms(3) == pytest.approx(1.19, abs=0.01)
    assert upper_ms(BUCKETS - 2) > 800_000
    assert upper_ms(BUCKETS - 1) == math.inf


def test_a_stratum_has_calls_of_both_versions_on_the_average() -> None:
    assert [stratum_size(weight) for weight in (1, 5, 10, 50, 90, 99)] == [200, 40, 20, 20, 20, 200]


@pytest.mark.parametrize("wave", [0.0, 20.0])
@pytest.mark.parametrize("weight", [10, 50])
def test_equal_versions_are_seldom_rolled_back_however_often_one_looks(weight: int, wave: float) -> None:
    # 4 times 25 rollouts of 3,000 calls, looked at every 50; benchmarks/rollout_verdict.py does a thousand.
    alarms = 0
    for seed in range(25):
        *_, (_, known) = islice(trial(seed, weight, Behaviour(), Behaviour(), wave), 3000 // BATCH)
        alarms += known.fails_more or known.is_slower
    assert alarms <= 1
    assert pytest.approx(0.01) == ERRORS_ALPHA + SLOW_ALPHA


def test_five_times_the_errors_are_seen_within_some_hundred_calls() -> None:
    worse = Behaviour(error_rate=0.05)
    assert calls_to_find(10, worse) < 400
    assert calls_to_find(50, worse) < 900


def test_half_as_much_time_again_is_seen_within_some_hundred_calls() -> None:
    worse = Behaviour(median_ms=60.0)
    assert calls_to_find(10, worse) < 250
    assert calls_to_find(50, worse) < 500


def test_a_version_that_always_fails_is_seen_at_once() -> None:
    assert calls_to_find(10, Behaviour(error_rate=1.0)) <= 10


def test_a_tenth_of_slowness_is_tolerated() -> None:
    *_, (_, known) = islice(trial(1, 50, Behaviour(), Behaviour(median_ms=44.0)), 400)
    assert not known.is_slower


def test_a_better_version_is_never_held_back() -> None:
    *_, (_, known) = islice(trial(1, 50, Behaviour(error_rate=0.05), Behaviour(error_rate=0.01, median_ms=30.0)), 400)
    assert known.errors_p > 0.1
    assert known.slow_p > 0.1
