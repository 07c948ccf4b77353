"""Sessions stay with their version, as far as the weights allow."""

from hypothesis import given
from hypothesis import strategies as st
from stoker_frontend.routes import RouteKey, Version, WeightedVersion, choose
from stoker_frontend.stickiness import in_order, point_of

KEY = RouteKey("ann", "hello", "live")

sessions = st.text(min_size=1, max_size=256)
weights = st.integers(1, 99)


def version_of(session: str, new_weight: int, *, is_new_first: bool = False, key: RouteKey = KEY) -> int:
    """Which version a session goes to, 1 or 2, where the second is the new one."""
    routes = [
        WeightedVersion(Version("uid-1", 1, 30, b""), 100 - new_weight),
        WeightedVersion(Version("uid-2", 2, 30, b""), new_weight),
    ]
    return choose(in_order(routes[::-1] if is_new_first else routes), point_of(key, session)).version.number


@given(sessions, weights, st.booleans())
def test_a_session_goes_to_the_same_version_each_time_however_the_alias_was_written(
    session: str, weight: int, is_new_first: bool
) -> None:
    assert version_of(session, weight) == version_of(session, weight, is_new_first=is_new_first)


@given(sessions, weights, weights)
def test_growing_weights_move_sessions_to_the_new_version_alone(session: str, one: int, other: int) -> None:
    assert version_of(session, min(one, other)) <= version_of(session, max(one, other))


@given(sessions)
def test_a_point_is_on_the_line(session: str) -> None:
    assert 0 <= point_of(KEY, session) < 1


def test_sessions_are_shared_out_by_the_weights() -> None:
    chosen = [version_of(f"session-{number}", 20) for number in range(5000)]
    assert 900 < chosen.count(2) < 1100


def test_a_session_stands_elsewhere_for_another_alias_function_or_tenant() -> None:
    keys = KEY, KEY._replace(qualifier="next"), KEY._replace(function="other"), KEY._replace(tenant="bob")
    assert len({point_of(key, "session") for key in keys}) == len(keys)
