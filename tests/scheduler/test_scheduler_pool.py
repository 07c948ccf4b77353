"""How many VMs wait without a tenant, where they are made, and what never happens to make them."""

from itertools import count
from math import exp, lgamma, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_scheduler.demand_trend import Trend
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.lead_times import BOOT_S, LeadTime
from stoker_scheduler.machines import Shape, VmState
from stoker_scheduler.waiting import Waiting
from stoker_scheduler.warming_pool import PoolPolicy, creations, quantile, surplus, wanted_size

from tests.scheduler.values import SHAPE, a_demand, a_fleet, put_vm


def a_dispatcher(fleet: Fleet) -> Dispatcher:
    ids = count(1)
    return Dispatcher(fleet, Waiting(1000, 1000), lambda prefix: f"{prefix}{next(ids)}")


def begun(fleet: Fleet, policy: PoolPolicy, wanted: int = 0) -> list[str]:
    """The hosts that begin a VM of the default shape."""
    begun = creations(fleet, policy, {SHAPE: wanted})
    assert {shape for _, shape in begun} <= {SHAPE}
    return sorted(host for host, _ in begun)


def test_each_host_keeps_its_least_number_as_far_as_there_is_room() -> None:
    fleet = a_fleet(2048)
    assert begun(fleet, PoolPolicy(3, 2)) == ["h1", "h1"]
    put_vm(fleet, "vm-1", state=VmState.CREATING)
    assert begun(fleet, PoolPolicy(3, 2)) == ["h1"]
    assert begun(fleet, PoolPolicy(1, 2)) == []
    put_vm(fleet, "vm-2", tenant="acme")
    put_vm(fleet, "vm-3", shape=Shape(1, 1024))
    assert begun(fleet, PoolPolicy(3, 2)) == []


def test_a_host_that_rests_makes_none() -> None:
    fleet = a_fleet(2048)
    fleet.rest_host("h1")
    assert begun(fleet, PoolPolicy(1, 1, 5), wanted=5) == []


def test_a_vm_that_boots_for_a_tenant_comes_before_one_for_the_pool() -> None:
    fleet = a_fleet(2048)
    put_vm(fleet, "vm-1", tenant="acme", state=VmState.CREATING)
    assert begun(fleet, PoolPolicy(1, 1)) == []


def test_the_pool_takes_no_room_that_a_demand_waits_for() -> None:
    fleet = a_fleet(512)
    dispatcher = a_dispatcher(fleet)
    fleet.rest_host("h1")
    ticket = dispatcher.waiting.join(a_demand())
    dispatcher.round(0.0, may_refuse=True)
    fleet.wake_host("h1")
    assert dispatcher.fill_pool(PoolPolicy(1, 1), 0.0) == []
    dispatcher.waiting.leave(ticket)
    dispatcher.round(0.0, may_refuse=True)
    assert len(dispatcher.fill_pool(PoolPolicy(1, 1), 0.0)) == 1


def test_what_is_wanted_beyond_the_least_number_goes_where_most_room_is() -> None:
    fleet = a_fleet(1024, 4096, 2048)
    assert begun(fleet, PoolPolicy(0, 9, 9), wanted=6) == ["h2"] * 5 + ["h3"]
    assert begun(fleet, PoolPolicy(0, 2, 9), wanted=6) == ["h1", "h1", "h2", "h2", "h3", "h3"]
    assert begun(fleet, PoolPolicy(0, 9, 1), wanted=6) == ["h1", "h2", "h3"]


def test_the_pool_is_filled_at_a_bounded_rate() -> None:
    fleet = a_fleet(*[8192] * 100)
    assert len(begun(fleet, PoolPolicy(1, 1, creations_at_once=20))) == 20
    assert len(begun(fleet, PoolPolicy(0, 1, 9, creations_at_once=20), wanted=500)) == 20


def test_a_pool_far_too_large_shrinks_where_there_is_least_room() -> None:
    fleet = a_fleet(4096, 1024)
    for number in range(6):
        put_vm(fleet, f"vm-{number}", "h2" if number < 2 else "h1")
    assert surplus(fleet, PoolPolicy(1, 1, 9), {SHAPE: 5}) == []
    assert surplus(fleet, PoolPolicy(1, 1, 9), {SHAPE: 2}) == ["vm-0"]
    fleet.end_vm("vm-0", 0.0)
    assert surplus(fleet, PoolPolicy(1, 1, 9), {SHAPE: 2}) == ["vm-2"]
    assert surplus(fleet, PoolPolicy(9, 1, 9), {SHAPE: 2}) == []


@given(st.floats(0.0, 300.0), st.sampled_from((0.5, 0.9, 0.95, 0.99)))
def test_a_poisson_quantile_is_what_its_definition_says(mean: float, probability: float) -> None:
    number = quantile(mean, mean, probability)

    def at_most(most: int) -> float:
        return sum(exp(-mean + k * log(mean) - lgamma(k + 1)) for k in range(most + 1)) if mean > 1e-300 else 1.0

    assert at_most(number) >= probability - 1e-9
    assert number == 0 or at_most(number - 1) < probability + 1e-9


@given(st.floats(0.1, 100.0), st.floats(1.1, 20.0), st.sampled_from((0.5, 0.9, 0.95, 0.99)))
def test_what_comes_in_bursts_is_distributed_negative_binomially(mean: float, times: float, probability: float) -> None:
    number, size = quantile(mean, times * mean, probability), mean / (times - 1)

    def at_most(most: int) -> float:
        return sum(
            exp(lgamma(k + size) - lgamma(size) - lgamma(k + 1) - size * log(times) + k * log(1 - 1 / times))
            for k in range(most + 1)
        )

    assert at_most(number) >= probability - 1e-6
    assert number == 0 or at_most(number - 1) < probability + 1e-6


@given(st.floats(401.0, 100_000.0), st.floats(1.0, 20.0))
def test_where_many_come_the_pool_has_twice_the_deviation_more(mean: float, times: float) -> None:
    assert quantile(mean, times * mean, 0.977) == pytest.approx(mean + 2 * sqrt(times * mean), rel=0.01)


def test_a_pool_grows_with_rate_lead_time_and_wanted_probability() -> None:
    often, seldom = Trend(rate_per_s=10.0), Trend(rate_per_s=1.0)
    assert wanted_size(Trend(), 5.0, 0.95) == 0
    assert 1 < wanted_size(seldom, 5.0, 0.95) < wanted_size(often, 5.0, 0.95)
    assert wanted_size(often, 1.0, 0.95) < wanted_size(often, 5.0, 0.95) < wanted_size(often, 5.0, 0.999)
    assert wanted_size(Trend(1.0, variance_per_s=20.0), 5.0, 0.95) > wanted_size(seldom, 5.0, 0.95)


@pytest.mark.parametrize("interval_s", [0.5, 1.0, 5.0])
def test_the_trend_finds_a_steady_rate_and_forgets_it(interval_s: float) -> None:
    trend = Trend()
    for _ in range(round(1200 / interval_s)):
        trend = trend.after(round(4 * interval_s), interval_s)
    assert trend.rate_per_s == pytest.approx(4.0, rel=0.1)
    for _ in range(round(1800 / interval_s)):
        trend = trend.after(0, interval_s)
    assert trend.rate_per_s < 0.05


def test_the_trend_runs_ahead_of_demand_that_grows() -> None:
    growing = Trend()
    for second in range(600):
        growing = growing.after(second // 60, 1.0)
    assert growing.slope_per_s2 > 0
    assert growing.rate_at(60.0) > growing.rate_per_s


def test_clones_and_boots_are_measured_apart() -> None:
    lead = LeadTime()
    assert lead.expected_s == BOOT_S
    lead = lead.after(8.0, is_clone=False)
    assert lead.expected_s == 8.0
    for _ in range(100):
        lead = lead.after(1.0, is_clone=True)
    assert lead.boot_s == 8.0
    assert 1.0 <= lead.expected_s < 1.1


def test_the_pool_follows_the_demand_for_vms() -> None:
    fleet = a_fleet(*[65_536] * 4)
    dispatcher, policy = a_dispatcher(fleet), PoolPolicy(0, 1000, 100)
    dispatcher.fill_pool(policy, 0.0)
    for second in range(1, 120):
        for number in range(2):
            dispatcher.waiting.join(a_demand(f"v{second}-{number}", f"t{second}-{number}"))
        dispatcher.round(float(second), may_refuse=True)
        dispatcher.fill_pool(policy, float(second))
    pooled = fleet.memory.pooled_in_all(SHAPE)
    assert pooled == wanted_size(dispatcher.pool_demand.trend_of(SHAPE), BOOT_S, policy.probability)
    assert 20 < pooled < 60


@given(
    st.lists(st.sampled_from((256, 512, 2048, 8192)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(("", "acme")), st.sampled_from(VmState)), max_size=6),
    st.integers(0, 4),
    st.integers(1, 3),
    st.integers(0, 5),
    st.integers(0, 20),
)
def test_the_pool_never_passes_its_bounds(
    hosts_mib: list[int], vms: list[tuple[int, str, VmState]], least: int, at_once: int, most: int, wanted: int
) -> None:
    fleet = a_fleet(*hosts_mib)
    for number, (on, tenant, state) in enumerate(vms):
        host = f"h{on % len(hosts_mib) + 1}"
        if fleet.host_free_mib(host) >= 512:
            put_vm(fleet, f"vm-{number}", host, tenant=tenant, state=state)
    hosts = begun(fleet, PoolPolicy(least, at_once, most), wanted)
    for host in {host.id for host in fleet.hosts}:
        added = hosts.count(host)
        pooled = sum(not vm.tenant and vm.state <= VmState.WARMING for vm in fleet.vms_on(host))
        creating = sum(vm.state is VmState.CREATING for vm in fleet.vms_on(host))
        assert added * 512 <= fleet.host_free_mib(host)
        assert added == 0 or (pooled + added <= max(least, most) and creating + added <= at_once)
