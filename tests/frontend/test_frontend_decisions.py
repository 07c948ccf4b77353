"""The frontend's decisions: functions of plain values."""

import math

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from stoker_frontend import api_keys
from stoker_frontend.invocations import deadline_after
from stoker_frontend.logs import LogLine, newest
from stoker_frontend.route_changes import changed_function
from stoker_frontend.routes import MAX_QUALIFIERS_PER_FUNCTION, RouteCache, RouteKey, Version, WeightedVersion, choose
from stoker_frontend.runs import Start
from stoker_protos.v1 import aliases_pb2, functions_pb2, versions_pb2

KEY = RouteKey("ann", "hello", "live")
ONE = WeightedVersion(Version("uid-1", 1, 30, b""), 100)

weights = st.integers(1, 99)
points = st.floats(0, 1, exclude_max=True)


def version(number: int) -> Version:
    return Version(f"uid-{number}", number, 30, b"")


@given(weights, points)
def test_the_version_at_a_point_is_the_one_whose_share_it_falls_into(weight: int, point: float) -> None:
    routes = [WeightedVersion(version(1), weight), WeightedVersion(version(2), 100 - weight)]
    assert choose(routes, point).version.number == (1 if point * 100 < weight else 2)


def test_shares_of_invocations_are_those_of_the_weights() -> None:
    routes = [WeightedVersion(version(1), 90), WeightedVersion(version(2), 10)]
    chosen = [choose(routes, point / 1000).version.number for point in range(1000)]
    assert (chosen.count(1), chosen.count(2)) == (900, 100)


def test_there_is_nothing_to_choose_without_routes() -> None:
    with pytest.raises(ValueError, match="no routes"):
        choose([], 0.5)


def test_a_generated_key_is_read_back_and_no_other_secret_passes_for_its_own() -> None:
    key, other = api_keys.generate(), api_keys.generate()
    assert api_keys.parse(key.text) == key
    assert api_keys.is_secret(key.secret, api_keys.hash_secret(key.secret))
    assert not api_keys.is_secret(other.secret, api_keys.hash_secret(key.secret))


def test_no_log_shows_a_secret() -> None:
    key = api_keys.generate()
    assert key.secret not in repr(key)


@given(st.text())
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    assert api_keys.parse(text) is None
    assert api_keys.parse(api_keys.generate().text + (text or "x")) is None


def line(time_ns: int, host: int) -> LogLine:
    return LogLine(time_ns, 1, "", f"c-{host}", "stdout", "")


@given(st.lists(st.lists(st.integers(0, 50)), max_size=4), st.integers(1, 20))
def test_the_newest_lines_of_all_hosts_are_in_order_and_no_newer_one_is_left_out(
    times: list[list[int]], limit: int
) -> None:
    of_hosts = [[line(time_ns, host) for time_ns in sorted(of_host)] for host, of_host in enumerate(times)]
    shown = [entry.time_ns for entry in newest(of_hosts, limit)]
    assert shown == sorted(time_ns for of_host in times for time_ns in of_host)[-limit:]


@given(st.floats(0, 1000), st.floats(0, 900))
def test_a_caller_is_answered_before_it_is_gone_and_not_before_it_came(now_s: float, remaining_s: float) -> None:
    deadline = deadline_after(now_s, remaining_s)
    assert deadline is not None
    assert now_s <= deadline.answer_s <= deadline.end_s
    assert math.isclose(deadline.end_s, now_s + remaining_s)


def test_a_caller_without_a_deadline_waits_for_ever() -> None:
    assert deadline_after(1.0, None) is None


def test_a_start_kind_of_a_newer_scheduler_is_unknown_and_no_fault() -> None:
    assert Start(77) is Start.UNKNOWN


@pytest.mark.parametrize(
    ("method", "request_message"),
    [
        ("UpdateAlias", aliases_pb2.UpdateAliasRequest(alias=aliases_pb2.Alias(name="functions/hello/aliases/live"))),
        ("CreateAlias", aliases_pb2.CreateAliasRequest(alias=aliases_pb2.Alias(name="functions/hello/aliases/live"))),
        ("DeleteAlias", aliases_pb2.DeleteAliasRequest(name="functions/hello/aliases/live")),
        ("PublishVersion", versions_pb2.PublishVersionRequest(parent="functions/hello")),
        ("DeleteVersion", versions_pb2.DeleteVersionRequest(name="functions/hello/versions/1")),
        ("DeleteFunction", functions_pb2.DeleteFunctionRequest(name="functions/hello")),
        (
            "CreateFunction",
            functions_pb2.CreateFunctionRequest(function=functions_pb2.Function(name="functions/hello")),
        ),
    ],
)
def test_what_changes_routes_is_told_by_its_function(method: str, request_message: Message) -> None:
    assert changed_function(method, request_message.SerializeToString()) == "hello"


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("GetFunction", functions_pb2.GetFunctionRequest(name="functions/hello").SerializeToString()),
        ("UpdateAlias", b"\xff\xff"),
        ("DeleteFunction", functions_pb2.DeleteFunctionRequest(name="nonsense").SerializeToString()),
        ("DeleteFunction", b""),
    ],
)
def test_what_changes_no_routes_names_no_function(method: str, raw: bytes) -> None:
    assert changed_function(method, raw) is None


def test_a_route_counts_for_certain_only_while_the_watch_goes_on() -> None:
    cache = RouteCache(stale_s=100)
    cache.watch_began()
    cache.keep(KEY, [ONE], cache.watch, now_s=0)
    assert cache.confirmed(KEY) == [ONE]
    cache.watch_lost(now_s=50)
    assert cache.confirmed(KEY) is None
    # It was right for as long as the watch went on, so it grows stale from then on.
    assert cache.unconfirmed(KEY, now_s=150) == [ONE]
    assert cache.unconfirmed(KEY, now_s=150.1) is None
    cache.watch_began()
    assert cache.confirmed(KEY) is None


def test_a_route_that_was_resolved_before_the_watch_began_is_not_certain() -> None:
    cache = RouteCache(stale_s=100)
    watch = cache.watch
    cache.watch_began()
    cache.keep(KEY, [ONE], watch, now_s=0)
    assert cache.confirmed(KEY) is None
    assert cache.unconfirmed(KEY, now_s=1) == [ONE]


def test_a_changed_function_is_forgotten_and_no_other() -> None:
    cache = RouteCache(stale_s=100)
    cache.watch_began()
    others = [RouteKey("bob", "hello", "live"), RouteKey("ann", "other", "live")]
    for key in (KEY, *others):
        cache.keep(key, [ONE], cache.watch, now_s=0)
    cache.forget("ann", "hello")
    assert cache.confirmed(KEY) is None
    assert cache.unconfirmed(KEY, now_s=0) is None
    assert [cache.confirmed(key) for key in others] == [[ONE], [ONE]]


def test_no_caller_can_fill_the_cache_by_asking_for_many_qualifiers() -> None:
    cache = RouteCache(stale_s=100)
    cache.watch_began()
    keys = [RouteKey("ann", "hello", str(number)) for number in range(MAX_QUALIFIERS_PER_FUNCTION + 10)]
    for key in keys:
        cache.keep(key, [ONE], cache.watch, now_s=0)
    assert [cache.confirmed(key) is not None for key in keys] == [False] * 10 + [True] * MAX_QUALIFIERS_PER_FUNCTION
