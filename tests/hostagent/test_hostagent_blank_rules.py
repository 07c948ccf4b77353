"""How many blank containers a VM has, for any VM."""

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from stoker_hostagent.blank_rules import SMALLEST_CONTAINER_MIB, Drop, Make, footprint_mib, next_step

RUNTIMES = st.sampled_from(["python3", "nodejs", "provided"])
blanks = st.dictionaries(st.uuids().map(str), RUNTIMES, max_size=8)
wanted = st.dictionaries(RUNTIMES, st.integers(0, 3))
rooms = st.integers(-200, 600)


def settled(there: Mapping[str, str], wanted: Mapping[str, int], free_mib: int) -> tuple[dict[str, str], list[type]]:
    """What there is after all steps, and of which kind they were."""
    now, kinds = dict(there), list[type]()
    for number in range(100):
        step = next_step(now, wanted, free_mib)
        if step is None:
            return now, kinds
        kinds.append(type(step))
        match step:
            case Make(runtime):
                now[f"new-{number}"] = runtime
            case Drop(blank):
                del now[blank]
    raise AssertionError("it never comes to rest")


def taken_mib(blanks: Mapping[str, str]) -> int:
    return sum(map(footprint_mib, blanks.values()))


@given(blanks, wanted, rooms)
def test_they_never_take_more_than_there_is_and_are_never_more_than_wanted(
    blanks: dict[str, str], wanted: dict[str, int], free_mib: int
) -> None:
    now, kinds = settled(blanks, wanted, free_mib)
    assert not now or taken_mib(now) <= free_mib
    assert all(count <= wanted.get(runtime, 0) for runtime, count in Counter(now.values()).items())
    # What was dropped is not made again.
    assert kinds == sorted(kinds, key=lambda kind: kind is Make)


@given(blanks, wanted, rooms)
def test_none_is_missing_that_would_have_room(blanks: dict[str, str], wanted: dict[str, int], free_mib: int) -> None:
    now, _ = settled(blanks, wanted, free_mib)
    for runtime, number in wanted.items():
        if Counter(now.values())[runtime] < number:
            assert free_mib < max(SMALLEST_CONTAINER_MIB, taken_mib(now) + footprint_mib(runtime))


@given(blanks, wanted, rooms)
def test_one_that_is_wanted_and_has_room_is_kept(blanks: dict[str, str], wanted: dict[str, int], free_mib: int) -> None:
    is_too_many = any(count > wanted.get(runtime, 0) for runtime, count in Counter(blanks.values()).items())
    if not is_too_many and taken_mib(blanks) <= free_mib:
        assert not isinstance(next_step(blanks, wanted, free_mib), Drop)


def test_a_vm_of_512_mib_keeps_both_while_it_has_room_for_another_container() -> None:
    both = {"python3": 1, "nodejs": 1}
    assert sorted(settled({}, both, 390)[0].values()) == ["nodejs", "python3"]
    assert sorted(settled({}, both, 390 - 2 * 128)[0].values()) == ["nodejs", "python3"]
    assert settled({"a": "python3", "b": "nodejs"}, both, 390 - 3 * 128)[0] == {}
