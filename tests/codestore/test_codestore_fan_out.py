"""Who fetches from whom."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from stoker_codestore.distribution import MAX_ATTEMPTS, Distribution, Stage
from stoker_codestore.fan_out import CODESTORE, Fetch, Limits, Spread, next_fetches

QUICK = settings(max_examples=100, deadline=None)


def spread(
    waiting: str = "",
    *,
    running: tuple[Fetch, ...] = (),
    holders: str = "",
    copies: int = 0,
    failed: tuple[Fetch, ...] = (),
) -> Spread:
    return Spread(list(waiting), running, list(holders), copies, failed)


def begun(which: Spread, serving: dict[str, int] | None = None) -> list[tuple[str, str]]:
    return [(fetch.host, fetch.source) for fetch in next_fetches(which, Counter(serving or {}), Limits())]


def test_the_codestore_sends_its_copies_and_no_more() -> None:
    assert begun(spread("abcd")) == [("a", CODESTORE), ("b", CODESTORE)]
    running = (Fetch("a", CODESTORE), Fetch("b", CODESTORE))
    assert begun(spread("cd", running=running, copies=2)) == []


def test_hosts_serve_others_as_many_at_a_time_as_they_may() -> None:
    assert begun(spread("cdefg", holders="ab", copies=2)) == [("c", "a"), ("d", "b"), ("e", "a"), ("f", "b")]
    assert begun(spread("cd", holders="ab", copies=2), {"a": 2, "b": 1}) == [("c", "b")]
    assert begun(spread("cd", holders="ab", copies=2), {"a": 2, "b": 2}) == []


def test_a_peer_is_asked_before_the_codestore() -> None:
    assert begun(spread("b", holders="a")) == [("b", "a")]


def test_what_failed_is_not_tried_again() -> None:
    failed = (Fetch("c", "a"),)
    assert begun(spread("c", holders="ab", copies=2, failed=failed)) == [("c", "b")]


def test_the_codestore_sends_more_where_nobody_else_can() -> None:
    failed = (Fetch("c", "a"),)
    assert begun(spread("c", holders="a", copies=2, failed=failed)) == [("c", CODESTORE)]
    assert begun(spread("cd", copies=2)) == [("c", CODESTORE)], "the other fetches of that one"
    assert begun(spread("c", running=(Fetch("b", "a"),), copies=2)) == []


@QUICK
@given(hosts=st.integers(1, 60), copies=st.integers(1, 3), per_host=st.integers(1, 3))
def test_every_host_gets_it_and_the_codestore_sends_few(hosts: int, copies: int, per_host: int) -> None:
    limits = Limits(copies, per_host)
    names = [f"host-{number}" for number in range(hosts)]
    distribution = Distribution()
    for name in names:
        distribution.want(name)
    sent: Counter[str] = Counter()
    rounds = 0
    while not distribution.is_complete:
        rounds += 1
        assert rounds <= hosts
        under_way = distribution.begin(names, distribution.serving(), limits, 0.0)
        assert max(distribution.serving().values(), default=0) <= max(copies, per_host)
        for host, progress in under_way.items():
            sent[progress.source] += 1
            distribution.delivered(host, 0.0)
    assert sent[CODESTORE] <= copies
    assert set(distribution.holders()) == set(names)


def test_a_host_that_fails_tries_elsewhere_and_in_the_end_no_more() -> None:
    distribution = Distribution()
    distribution.delivered("a", 0.0)
    distribution.want("b")
    sources: list[str] = []
    while distribution.progress["b"].stage is not Stage.FAILED:
        progress = distribution.begin(["a", "b"], Counter(), Limits(), 0.0)["b"]
        sources.append(progress.source)
        distribution.failed("b", progress.id, "it broke")
    assert sources == ["a", *[CODESTORE] * (MAX_ATTEMPTS - 1)]
    assert distribution.progress["b"].message == "it broke"
    assert distribution.is_complete

    distribution.want("b")
    assert distribution.progress["b"].stage is Stage.WAITING, "a later publish tries again"


def test_only_the_attempt_that_runs_is_believed() -> None:
    distribution = Distribution()
    distribution.want("a")
    first = distribution.begin(["a"], Counter(), Limits(), 1.0)["a"]
    distribution.fetched("a", first.id, 100, 40, 2.0)
    assert (distribution.progress["a"].fetched_bytes, distribution.progress["a"].told_s) == (40, 2.0)
    distribution.failed("a", first.id, "it broke")
    distribution.failed("a", first.id, "it broke")
    distribution.fetched("a", first.id, 100, 60, 3.0)
    assert distribution.progress["a"].stage is Stage.WAITING
    assert distribution.progress["a"].attempts == 1


def test_a_host_that_says_nothing_has_stalled() -> None:
    distribution = Distribution()
    distribution.want("a")
    attempt = distribution.begin(["a"], Counter(), Limits(), 1.0)["a"]
    assert distribution.stalled(1.0) == []
    assert distribution.stalled(2.0) == ["a"]
    distribution.fetched("a", attempt.id, 0, 0, 5.0)
    assert distribution.stalled(2.0) == []


def test_what_is_away_is_neither_asked_nor_told() -> None:
    distribution = Distribution()
    distribution.delivered("a", 0.0)
    distribution.want("b")
    distribution.want("c")
    under_way = distribution.begin(["b"], Counter(), Limits(codestore_copies=1), 0.0)
    assert {host: progress.source for host, progress in under_way.items()} == {"b": CODESTORE}
