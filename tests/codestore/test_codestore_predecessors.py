"""Which versions may answer for another: a function of what an alias pointed to."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from stoker_codestore.alias_history import AliasChange, Cause, Share
from stoker_codestore.predecessors import (
    MOST,
    Hindrance,
    earlier_than,
    predecessor,
    relevant,
    visible_differences,
)
from stoker_codestore.rollover_terms import RolloverPolicy, Terms
from stoker_codestore.versions import Configuration, Runtime, Version

BEGAN = datetime(2026, 11, 25, tzinfo=UTC)
CONFIGURATION = Configuration("a" * 64, Runtime.PYTHON3, "app.handler", 128, 30, 64, 1, {"A": "1"}, "").with_defaults()
OTHERWISE = [
    ("runtime", Runtime.NODEJS),
    ("handler", "app.other"),
    ("memory_mib", 256),
    ("timeout_s", 31),
    ("tmp_mib", 65),
    ("concurrency", 2),
    ("environment", {"A": "2"}),
]

numbers = st.integers(1, 5)
shares = st.one_of(
    numbers.map(lambda number: (number,)), st.lists(numbers, min_size=2, max_size=2, unique=True).map(tuple)
)


def history(pointed: Sequence[Sequence[int]]) -> list[AliasChange]:
    """The changes of an alias that pointed to these versions one after the other, a second each, the newest first."""
    changes: list[AliasChange] = []
    before: tuple[Share, ...] = ()
    for second, versions in enumerate(pointed):
        after = tuple(Share(version, 100 // len(versions)) for version in versions)
        time = BEGAN + timedelta(seconds=second)
        changes.insert(0, AliasChange(second, "live", time, Cause(""), before, after))
        before = after
    return changes


def version(number: int, **otherwise: object) -> Version:
    return Version(replace(CONFIGURATION, artifact_sha256=f"{number:064}", **otherwise), number, f"uid-{number}", BEGAN)


def test_what_was_pointed_to_comes_the_last_first_each_with_when_it_was_replaced() -> None:
    found = earlier_than(3, history([[1], [2], [3]]))
    assert [(each.number, (each.replaced_time - BEGAN).seconds) for each in found] == [(2, 2), (1, 1)]


def test_a_version_that_stays_beside_the_new_one_was_replaced_when_that_came() -> None:
    [one] = earlier_than(2, history([[1], [1, 2], [2, 1]]))
    assert (one.number, one.replaced_time) == (1, BEGAN + timedelta(seconds=1))


def test_the_new_version_is_none_that_was_there_before_the_old_one() -> None:
    assert earlier_than(1, history([[1], [1, 2]])) == []


def test_a_version_taken_back_is_before_the_one_that_it_made_way_for() -> None:
    found = earlier_than(1, history([[1], [2], [1]]))
    assert [each.number for each in found] == [2]


@given(st.lists(shares, min_size=1, max_size=12))
def test_only_what_the_alias_pointed_to_is_ever_found_and_never_the_target_itself(
    pointed: list[tuple[int, ...]],
) -> None:
    for target in pointed[-1]:
        found = earlier_than(target, history(pointed))
        assert {each.number for each in found} <= {number for versions in pointed for number in versions} - {target}
        assert len({each.number for each in found}) == len(found)
        assert [each.replaced_time for each in found] == sorted((each.replaced_time for each in found), reverse=True)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 100), st.sampled_from(RolloverPolicy))
def test_a_version_may_answer_up_to_the_bound_and_only_for_a_newer_one(
    target: int, number: int, bound_s: int, policy: RolloverPolicy
) -> None:
    found = predecessor(version(target), version(number), BEGAN, Terms(policy, bound_s))
    assert found.until == BEGAN + timedelta(seconds=bound_s)
    is_allowed = policy is RolloverPolicy.SERVE_PREVIOUS and number <= target
    assert (found.hindrance is None) == is_allowed


@given(st.sampled_from(OTHERWISE))
def test_whatever_callers_can_see_makes_a_version_no_substitute(otherwise: tuple[str, object]) -> None:
    field, value = otherwise
    found = predecessor(version(2), version(1, **{field: value}), BEGAN, Terms())
    assert (found.hindrance, found.differences) == (Hindrance.DIFFERENT, (field,))


def test_code_and_description_are_not_seen() -> None:
    other = replace(CONFIGURATION, artifact_sha256="b" * 64, description="other words")
    assert visible_differences(CONFIGURATION, other) == ()


def test_once_the_new_version_was_loaded_nothing_answers_for_it_after_the_bound() -> None:
    found = [predecessor(version(20), version(number), BEGAN, Terms()) for number in range(1, 20)]
    late = BEGAN + timedelta(seconds=61)
    assert len(relevant(found, late, is_loaded=False)) == MOST
    assert relevant(found, late, is_loaded=True) == []
    assert len(relevant(found, BEGAN, is_loaded=True)) == MOST
