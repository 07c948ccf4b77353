"""Leases hold for as long as they are renewed, and end with what they are for."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from stoker_scheduler.leases import LeaseTable

TTL_S = 30.0


def a_table(*leases: tuple[str, str, str, str]) -> LeaseTable:
    """A table with these leases, each an id, a container, a host and a holder, granted at 0."""
    table = LeaseTable(TTL_S)
    for lease_id, container, host, holder in leases:
        table.grant(lease_id, container=container, host=host, holder=holder, now_s=0.0)
    return table


def test_a_lease_ends_when_it_is_not_renewed() -> None:
    table = a_table(("l1", "c1", "h1", "f1"), ("l2", "c2", "h1", "f1"))
    assert table.renew("l1", 29.0)
    assert [lease.id for lease in table.end_expired(30.0)] == ["l2"]
    assert table.of_container("c2") is None
    assert [lease.id for lease in table.end_expired(59.0)] == ["l1"]


def test_a_lease_that_has_expired_cannot_be_renewed() -> None:
    table = a_table(("l1", "c1", "h1", "f1"))
    assert not table.renew("l1", 30.0)
    assert not table.renew("unknown", 0.0)


def test_a_lost_host_ends_its_leases_alone() -> None:
    table = a_table(("l1", "c1", "h1", "f1"), ("l2", "c2", "h2", "f1"), ("l3", "c3", "h1", "f2"))
    assert {lease.id for lease in table.end_of_host("h1")} == {"l1", "l3"}
    assert table.renew("l2", 1.0)


def test_a_holder_that_is_gone_loses_its_leases_on_that_host_alone() -> None:
    table = a_table(("l1", "c1", "h1", "f1"), ("l2", "c2", "h2", "f1"), ("l3", "c3", "h1", "f2"))
    assert [lease.id for lease in table.end_of_holder("h1", "f1")] == ["l1"]
    assert len(table) == 2


def test_a_container_is_under_one_lease() -> None:
    table = a_table(("l1", "c1", "h1", "f1"), ("l2", "c1", "h1", "f2"))
    lease = table.of_container("c1")
    assert lease is not None
    assert lease.id == "l2"
    assert table.end("l1") is None


steps = st.lists(
    st.tuples(
        st.sampled_from(("grant", "renew", "end", "pass", "host", "holder")),
        st.integers(0, 5),
        st.sampled_from((0.0, 1.0, 10.0, 25.0)),
    )
)


@given(steps)
def test_a_lease_holds_exactly_until_its_time_or_its_end(steps: list[tuple[str, int, float]]) -> None:
    table, now_s = LeaseTable(TTL_S), 0.0
    held: dict[str, tuple[str, str, str, float]] = {}

    def drop(ended: list[str], is_meant: Callable[[str], bool]) -> None:
        assert sorted(ended) == sorted(lease_id for lease_id in held if is_meant(lease_id))
        for lease_id in ended:
            del held[lease_id]

    for number, (step, which, seconds) in enumerate(steps):
        host, holder, container = f"h{which % 2}", f"f{which % 3}", f"c{which}"
        match step:
            case "grant":
                for lease_id in [lease_id for lease_id, lease in held.items() if lease[0] == container]:
                    del held[lease_id]
                table.grant(f"l{number}", container=container, host=host, holder=holder, now_s=now_s)
                held[f"l{number}"] = (container, host, holder, now_s + TTL_S)
            case "renew":
                for lease_id, (container_id, host_id, holder_id, expires_s) in held.items():
                    if container_id == container:
                        assert table.renew(lease_id, now_s) == (expires_s > now_s)
                        if expires_s > now_s:
                            held[lease_id] = (container_id, host_id, holder_id, now_s + TTL_S)
            case "end":
                if ended := table.end_of_container(container):
                    drop([ended.id], lambda lease_id, container=container: held[lease_id][0] == container)
            case "host":
                ended_on_host = [lease.id for lease in table.end_of_host(host)]
                drop(ended_on_host, lambda lease_id, host=host: held[lease_id][1] == host)
            case "holder":
                ended_of_holder = [lease.id for lease in table.end_of_holder(host, holder)]
                drop(ended_of_holder, lambda lease_id, of=(host, holder): held[lease_id][1:3] == of)
            case _:
                now_s += seconds
                expired = [lease.id for lease in table.end_expired(now_s)]
                drop(expired, lambda lease_id, now_s=now_s: held[lease_id][3] <= now_s)
        assert len(table) == len(held)
