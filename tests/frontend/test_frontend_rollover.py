"""Which version answers while another is being loaded: a function of plain values."""

from hypothesis import given
from hypothesis import strategies as st
from stoker_frontend.rollover import (
    LONGEST_REST_S,
    Serve,
    Wait,
    answering,
    decide,
    may_prepare,
    replaced,
    rest_s,
)
from stoker_frontend.routes import Previous, RolloverRule, Version

HINDRANCES = (
    None,
    RolloverRule.WAITED_BY_POLICY,
    RolloverRule.WAITED_AS_DIFFERENT,
    RolloverRule.WAITED_AS_ROLLED_BACK,
)


def version(number: int, *previous: Previous) -> Version:
    return Version(f"uid-{number}", number, 30, b"", previous=previous)


def before(
    number: int, until_s: float = 60.0, hindrance: RolloverRule | None = None, *, is_needed: bool = False
) -> Previous:
    return Previous(version(number), until_s, hindrance, is_needed=is_needed)


earlier = st.builds(before, st.integers(1, 8), st.floats(0, 100), st.sampled_from(HINDRANCES), is_needed=st.booleans())
histories = st.lists(earlier, max_size=5, unique_by=lambda each: each.version.number)
times = st.floats(0, 100)


@given(histories, times, st.booleans(), st.booleans())
def test_only_what_is_told_of_may_answer_and_never_what_is_hindered(
    previous: list[Previous], now_s: float, is_failing: bool, was_loaded: bool
) -> None:
    decision = decide(version(9, *previous), now_s, is_failing=is_failing, was_loaded=was_loaded)
    if isinstance(decision, Serve):
        able = [each.version for each in previous if each.hindrance is None]
        assert decision.versions
        assert set(decision.versions) <= set(able)


@given(histories, times, st.booleans())
def test_nothing_answers_after_its_time_unless_the_new_version_fails_to_load(
    previous: list[Previous], now_s: float, was_loaded: bool
) -> None:
    decision = decide(version(9, *previous), now_s, is_failing=False, was_loaded=was_loaded)
    until_s = {each.version: each.until_s for each in previous}
    if isinstance(decision, Serve):
        assert all(now_s < until_s[each] for each in decision.versions)
        assert not decision.may_start


@given(times, st.booleans(), st.booleans())
def test_a_request_by_number_waits_for_that_version(now_s: float, is_failing: bool, was_loaded: bool) -> None:
    assert decide(version(9), now_s, is_failing=is_failing, was_loaded=was_loaded) == Wait(None)


@given(histories, times)
def test_while_the_new_version_fails_a_version_before_answers_if_any_may(
    previous: list[Previous], now_s: float
) -> None:
    decision = decide(version(9, *previous), now_s, is_failing=True, was_loaded=False)
    if any(each.hindrance is None for each in previous):
        assert isinstance(decision, Serve)
        assert (decision.rule, decision.may_start) == (RolloverRule.SERVED_WHILE_FAILING, True)
    else:
        assert isinstance(decision, Wait)


@given(histories, times)
def test_who_waits_in_a_rollover_is_told_why(previous: list[Previous], now_s: float) -> None:
    decision = decide(version(9, *previous), now_s, is_failing=False, was_loaded=False)
    if isinstance(decision, Wait):
        assert (decision.rule is None) == (not previous)


def test_the_version_replaced_last_comes_first() -> None:
    decision = decide(version(3, before(2), before(1)), 0.0, is_failing=False, was_loaded=False)
    assert isinstance(decision, Serve)
    assert [each.number for each in decision.versions] == [2, 1]


def test_once_it_was_loaded_and_the_time_is_over_it_is_a_version_as_any_other() -> None:
    assert decide(version(2, before(1)), 61.0, is_failing=False, was_loaded=True) == Wait(None)
    assert decide(version(2, before(1)), 61.0, is_failing=False, was_loaded=False) == Wait(RolloverRule.WAITED_AS_STALE)


@given(histories)
def test_what_another_alias_points_to_is_not_replaced(previous: list[Previous]) -> None:
    ended = set(replaced(version(9, *previous)))
    assert ended == {each.version.uid for each in previous if not each.is_needed}


@given(st.integers(0, 50), st.integers(1, 50))
def test_a_new_version_takes_over_in_few_steps_and_fails_in_one(needed: int, most: int) -> None:
    held = steps = 0
    while held < needed:
        preparing = 0
        while held + preparing < needed and may_prepare(preparing, held, most):
            preparing += 1
        assert 0 < preparing <= most
        held, steps = held + preparing, steps + 1
        assert steps > 1 or held == 1
    assert steps <= 1 + needed.bit_length() + needed // most


@given(st.integers(1, 1000))
def test_a_version_that_goes_on_failing_is_tried_less_and_less_often(failures: int) -> None:
    assert rest_s(failures) <= rest_s(failures + 1) <= LONGEST_REST_S
    assert rest_s(1) == 1.0


@given(histories, times, st.booleans(), st.dictionaries(st.integers(1, 9), st.integers(0, 3)))
def test_what_is_said_to_answer_is_what_would(
    previous: list[Previous], now_s: float, is_failing: bool, loaded: dict[int, int]
) -> None:
    target = version(9, *previous)
    number = answering(target, loaded, now_s, is_failing=is_failing)
    decision = decide(target, now_s, is_failing=is_failing, was_loaded=False)
    if loaded.get(9):
        assert number == 9
    elif isinstance(decision, Wait):
        assert number == 0
    elif number:
        assert number in [each.number for each in decision.versions]
        assert loaded.get(number) or decision.may_start
    else:
        assert not any(loaded.get(each.number) for each in decision.versions)
