"""What is kept, for how long, and what makes way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_scheduler.eviction import Eviction
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.idle_times import ENOUGH, MOST, IdleTimes, KeepAlivePolicy
from stoker_scheduler.keep_alive import Ending, KeepAlive, empty_for_long
from stoker_scheduler.machines import Container, ContainerState, Host

from tests.scheduler.values import RESERVE_MIB, SHAPE, a_demand, a_fleet, a_version, put_container, put_vm

IDLE, LEASED, CREATING = ContainerState.IDLE, ContainerState.LEASED, ContainerState.CREATING
POLICY = KeepAlivePolicy(standard_s=600.0, least_s=60.0, most_s=3600.0)


def a_watched_fleet(keep_alive: KeepAlive) -> Fleet:
    fleet = Fleet(SHAPE, RESERVE_MIB, idled=keep_alive.idled)
    fleet.add_host(Host("h1", "127.0.0.1:1", 8192))
    return fleet


def times_of(*idle_s: float) -> IdleTimes:
    times = IdleTimes()
    for seconds in idle_s:
        times.add(seconds, POLICY.most_s)
    return times


def test_what_nobody_used_for_long_ends_and_what_is_busy_never_does() -> None:
    keep_alive = KeepAlive(KeepAlivePolicy(60.0, 60.0, 60.0))
    fleet = a_watched_fleet(keep_alive)
    for number, (state, since_s) in enumerate([(LEASED, 0.0), (CREATING, 0.0), (IDLE, 0.0), (IDLE, 50.0)]):
        put_vm(fleet, f"vm-{number}", tenant="acme")
        put_container(fleet, f"c-{number}", f"vm-{number}", a_version(), state, since_s)
    assert keep_alive.ending(fleet, 100.0) == ("c-2",)
    assert keep_alive.ending(fleet, 109.0) == ()
    assert keep_alive.ending(fleet, 110.0) == ("c-3",)


def test_a_container_used_again_is_kept_from_then_on() -> None:
    keep_alive = KeepAlive(KeepAlivePolicy(60.0, 60.0, 60.0))
    fleet = a_watched_fleet(keep_alive)
    put_vm(fleet, "vm-1", tenant="acme")
    for state, since_s in ((IDLE, 0.0), (LEASED, 40.0), (IDLE, 50.0)):
        put_container(fleet, "c-1", "vm-1", a_version(), state, since_s)
    assert keep_alive.ending(fleet, 70.0) == ()
    assert keep_alive.ending(fleet, 110.0) == ("c-1",)


def test_what_is_kept_for_a_caller_to_come_outlives_its_time() -> None:
    keep_alive = KeepAlive(KeepAlivePolicy(60.0, 60.0, 60.0))
    fleet = a_watched_fleet(keep_alive)
    put_vm(fleet, "vm-1", tenant="acme")
    fleet.put_container(Container("c-1", "vm-1", a_version(), IDLE, 0.0, is_provisioned=True))
    assert keep_alive.ending(fleet, 1000.0) == ()
    fleet.put_container(Container("c-1", "vm-1", a_version(), IDLE, 0.0))
    assert keep_alive.ending(fleet, 1001.0) == ("c-1",)


def test_a_function_is_kept_for_as_long_as_its_habit_says() -> None:
    keep_alive = KeepAlive(POLICY)
    fleet = a_watched_fleet(keep_alive)
    put_vm(fleet, "vm-1", tenant="acme")
    now_s = 0.0
    for _ in range(ENOUGH):
        put_container(fleet, "c-1", "vm-1", a_version(), IDLE, now_s)
        now_s += 900.0
        keep_alive.wanted(a_version(), now_s)
        put_container(fleet, "c-1", "vm-1", a_version(), LEASED, now_s)
    assert 900.0 < keep_alive.keep_s(a_version().key) < 1100.0
    assert keep_alive.keep_s(("acme", "another")) == POLICY.standard_s


def test_only_so_many_functions_are_remembered_those_used_last() -> None:
    keep_alive = KeepAlive(POLICY, max_functions=2)
    for number in range(ENOUGH):
        for uid in ("v1", "v2"):
            keep_alive.idled(Container(f"c-{uid}", "vm-1", a_version(uid), IDLE, number * 100.0))
            keep_alive.wanted(a_version(uid), number * 100.0 + 10.0)
    assert keep_alive.keep_s(a_version("v1").key) == POLICY.least_s
    keep_alive.wanted(a_version("v3"), 2000.0)
    assert keep_alive.keep_s(a_version("v1").key) == POLICY.standard_s
    assert keep_alive.keep_s(a_version("v2").key) == POLICY.least_s


def test_the_standard_holds_while_little_is_known() -> None:
    assert times_of(*[20.0] * (ENOUGH - 1)).keep_s(POLICY) == POLICY.standard_s
    assert times_of(*[20.0] * ENOUGH).keep_s(POLICY) == POLICY.least_s


def test_the_standard_holds_where_there_is_no_pattern() -> None:
    spread = times_of(*(number * 30.0 for number in range(120)))
    assert spread.variation(POLICY.most_s) == pytest.approx(0.0)
    assert spread.keep_s(POLICY) == POLICY.standard_s


def test_a_rare_long_idle_time_is_not_waited_for() -> None:
    assert times_of(*[100.0] * 500, *[3000.0] * 3).keep_s(POLICY) == pytest.approx(120.0 * 1.1)


def test_where_no_keep_alive_would_help_it_is_the_shortest() -> None:
    assert times_of(*[5000.0] * 30, *[100.0] * 10).keep_s(POLICY) == POLICY.least_s


def test_what_was_long_ago_counts_less_and_less() -> None:
    times = times_of(*[3000.0] * (MOST - 1))
    assert times.keep_s(POLICY) > 3000.0
    for _ in range(6 * MOST):
        times.add(20.0, POLICY.most_s)
    assert times.keep_s(POLICY) == POLICY.least_s


@given(st.lists(st.floats(0.0, 10_000.0), max_size=300))
def test_a_keep_alive_is_within_its_bounds_and_covers_the_tail_of_a_pattern(idle_s: list[float]) -> None:
    times = times_of(*idle_s)
    keep_s = times.keep_s(POLICY)
    within = sorted(seconds for seconds in idle_s if seconds < POLICY.most_s)
    bins = [sum(seconds // 30 == number for seconds in within) for number in range(120)]
    mean = len(within) / 120
    variation = (sum((one - mean) ** 2 for one in bins) / 120) ** 0.5 / mean if within else 0.0
    assert times.variation(POLICY.most_s) == pytest.approx(variation, abs=1e-6)
    assert POLICY.least_s <= keep_s <= POLICY.most_s
    if keep_s not in (POLICY.standard_s, POLICY.least_s, POLICY.most_s):
        assert sum(seconds < keep_s for seconds in within) >= 0.99 * len(within)


def test_a_tenants_vm_ends_once_it_has_been_empty_for_long() -> None:
    fleet = a_fleet(2048)
    put_vm(fleet, "vm-warming")
    put_vm(fleet, "vm-1", tenant="acme")
    put_container(fleet, "c-1", "vm-1", a_version(), IDLE)
    assert empty_for_long(fleet, 500.0, 30) == ()
    fleet.remove_container("c-1", 500.0)
    assert empty_for_long(fleet, 530.0, 30) == ()
    assert empty_for_long(fleet, 531.0, 30) == ("vm-1",)


def test_room_is_made_by_the_least_recently_used_container_of_the_tenant() -> None:
    fleet = a_fleet(1024)
    for number, (state, since_s) in enumerate([(LEASED, 0.0), (IDLE, 1.0), (IDLE, 2.0)]):
        vm = f"vm-{number % 2}"
        put_vm(fleet, vm, tenant="acme")
        put_container(fleet, f"c-{number}", vm, a_version(f"x{number}", memory_mib=180), state, since_s)
    put_container(fleet, "c-3", "vm-1", a_version("x3", memory_mib=200), IDLE, 3.0)
    assert Eviction(fleet).room_for(a_demand(memory_mib=200)) == Ending(containers=("c-1",))
    assert Eviction(fleet).room_for(a_demand(memory_mib=390)) == Ending(containers=("c-1", "c-3"))


def test_room_is_made_by_vms_that_nobody_uses_of_whichever_tenant() -> None:
    fleet = a_fleet(1536)
    put_vm(fleet, "vm-busy", tenant="other")
    put_container(fleet, "c-1", "vm-busy", a_version("x", "other"), LEASED)
    put_vm(fleet, "vm-idle", tenant="other")
    put_container(fleet, "c-2", "vm-idle", a_version("x", "other"), IDLE, 1.0)
    put_vm(fleet, "vm-empty", tenant="third")
    assert Eviction(fleet).room_for(a_demand(memory_mib=200)) == Ending(vms=("vm-idle",))
    assert Eviction(fleet).room_for(a_demand(memory_mib=800)) == Ending(vms=("vm-idle", "vm-empty"))
    assert Eviction(fleet).room_for(a_demand(memory_mib=1200)) is None


def test_what_is_being_freed_is_waited_for_and_counted_once() -> None:
    fleet = a_fleet(1024)
    for number in (1, 2):
        put_vm(fleet, f"vm-{number}", tenant="other")
    fleet.end_vm("vm-1", 1.0)
    eviction = Eviction(fleet)
    assert eviction.room_for(a_demand(memory_mib=300)) == Ending()
    assert eviction.room_for(a_demand(memory_mib=300)) == Ending(vms=("vm-2",))
    fleet.end_vm("vm-2", 1.0)
    assert eviction.room_for(a_demand(memory_mib=300)) is None
    later = Eviction(fleet)
    assert [later.room_for(a_demand(memory_mib=300)) for _ in range(3)] == [Ending(), Ending(), None]
