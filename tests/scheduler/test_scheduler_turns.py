"""Tenants share what is granted by their weights, and nobody waits for ever."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_scheduler.dispatch import Dispatcher, Hand, Make
from stoker_scheduler.machines import Container, ContainerState
from stoker_scheduler.turns import Turns
from stoker_scheduler.waiting import Ticket, Waiting

from tests.scheduler.values import a_demand, a_fleet, a_version, put_container, put_vm

OVERTAKEN_S = 30.0


def a_dispatcher(*host_mib: int) -> Dispatcher:
    ids = count(1)
    waiting = Waiting(1000, 1000)
    return Dispatcher(a_fleet(*host_mib), waiting, lambda prefix: f"{prefix}{next(ids)}", overtaken_s=OVERTAKEN_S)


def made(dispatcher: Dispatcher, now_s: float) -> list[Ticket]:
    decisions = dispatcher.round(now_s, may_refuse=True)
    return [decision.ticket for decision in decisions if isinstance(decision, Make)]


def leave(dispatcher: Dispatcher, container: Container, now_s: float) -> None:
    """What was made for a demand serves it, and is gone with its VM."""
    if hand := dispatcher.hand(container, now_s):
        dispatcher.fleet.remove_vm(hand.container.vm, now_s)


@pytest.mark.parametrize("room", [1, 4])
def test_a_flood_of_500_delays_no_other_tenants_single_demand_by_more_than_the_room_there_is(room: int) -> None:
    dispatcher = a_dispatcher(room * 512)
    for number in range(500):
        dispatcher.waiting.join(a_demand(f"flood-{number}", memory_mib=400))
    served: list[Ticket] = []
    containers: list[Container] = []
    singles: dict[Ticket, int] = {}
    for second in range(150):
        if second % 10 == 5:
            single = dispatcher.waiting.join(a_demand(f"single-{second}", f"tenant-{second}", 400), float(second))
            singles[single] = len(served)
        decisions = dispatcher.round(float(second), may_refuse=True)
        makes = [decision for decision in decisions if isinstance(decision, Make)]
        served.extend(make.ticket for make in makes)
        containers.extend(make.container for make in makes)
        leave(dispatcher, containers.pop(0), float(second))
    assert len(singles) == 15
    for single, before in singles.items():
        assert served.index(single) - before <= 1


def test_a_flood_of_one_version_delays_no_other_tenant_either() -> None:
    dispatcher = a_dispatcher(512)
    flood = [dispatcher.waiting.join(a_demand("flood", memory_mib=400)) for _ in range(500)]
    assert made(dispatcher, 0.0) == [flood[0]]
    single = dispatcher.waiting.join(a_demand("single", "other", memory_mib=400))
    leave(dispatcher, next(iter(dispatcher.fleet.containers)), 1.0)
    assert made(dispatcher, 1.0) == [single]


@given(st.lists(st.sampled_from((0.5, 1.0, 2.0, 4.0)), min_size=2, max_size=5))
def test_tenants_that_always_wait_are_served_in_proportion_to_their_weights(weights: list[float]) -> None:
    tenants = {f"t{number}": weight for number, weight in enumerate(weights)}
    turns, served = Turns(tenants), Counter[str]()
    for tenant in tenants:
        turns.join(tenant)
    grants = round(20 * sum(weights))
    for _ in range(grants):
        tenant = next(iter(turns))
        turns.charge(tenant)
        served[tenant] += 1
    for tenant, weight in tenants.items():
        # Start-time fair queueing is never off by more than a grant for each tenant.
        assert abs(served[tenant] - 20 * weight) <= 1 + weight * len(tenants)


steps = st.lists(st.tuples(st.sampled_from(("join", "leave", "serve")), st.integers(0, 3)), max_size=80)


@given(steps)
def test_who_begins_to_wait_is_served_after_the_others_had_a_turn(
    steps: list[tuple[str, int]],
) -> None:
    turns, waiting = Turns(), set[str]()
    since: dict[str, Counter[str]] = {}
    for step, number in steps:
        tenant = f"t{number}"
        if step == "join" and tenant not in waiting:
            turns.join(tenant)
            waiting.add(tenant)
            since[tenant] = Counter()
        elif step == "leave" and tenant in waiting:
            turns.leave(tenant)
            waiting.discard(tenant)
        elif step == "serve" and waiting:
            served = next(iter(turns))
            turns.charge(served)
            for other in waiting - {served}:
                since[other][served] += 1
                # One that came back while it was ahead waits for the others to catch up.
                assert since[other][served] <= 2 + len(waiting)
            since[served] = Counter()
        assert set(turns) == waiting


def test_nobody_gains_by_leaving_the_queue_and_coming_back() -> None:
    turns = Turns()
    turns.join("steady")
    turns.join("clever")
    served = Counter[str]()
    for _ in range(40):
        tenant = next(iter(turns))
        turns.charge(tenant)
        served[tenant] += 1
        turns.leave("clever")
        turns.join("clever")
    assert served["clever"] == served["steady"]


def a_dispatcher_with_a_large_demand() -> tuple[Dispatcher, Ticket]:
    """A host with room for a small VM, of which a demand wants more; another tenant has the rest."""
    dispatcher = a_dispatcher(1536)
    put_vm(dispatcher.fleet, "vm-a", tenant="other")
    put_container(dispatcher.fleet, "c-a", "vm-a", a_version("x", "other"), ContainerState.LEASED)
    put_vm(dispatcher.fleet, "vm-b", tenant="other")
    put_container(dispatcher.fleet, "c-b", "vm-b", a_version("x", "other"), ContainerState.LEASED)
    large = dispatcher.waiting.join(a_demand("large", memory_mib=800), 0.0)
    assert made(dispatcher, 0.0) == []
    return dispatcher, large


def test_a_demand_that_fits_passes_one_that_does_not_for_a_while_and_then_no_more() -> None:
    dispatcher, large = a_dispatcher_with_a_large_demand()
    early = dispatcher.waiting.join(a_demand("early", memory_mib=400), 1.0)
    assert made(dispatcher, OVERTAKEN_S - 1) == [early]
    leave(dispatcher, next(c for c in dispatcher.fleet.containers if c.version.uid == "early"), OVERTAKEN_S)

    late = dispatcher.waiting.join(a_demand("late", memory_mib=400), OVERTAKEN_S)
    assert made(dispatcher, OVERTAKEN_S) == []
    dispatcher.fleet.remove_vm("vm-a", OVERTAKEN_S + 1)
    assert made(dispatcher, OVERTAKEN_S + 1) == [large]
    dispatcher.fleet.remove_vm("vm-b", OVERTAKEN_S + 2)
    assert made(dispatcher, OVERTAKEN_S + 2) == [late]


def test_one_tenants_large_demand_never_holds_up_another_tenant() -> None:
    dispatcher, _ = a_dispatcher_with_a_large_demand()
    other = dispatcher.waiting.join(a_demand("y", "other", memory_mib=300), 100.0)
    third = dispatcher.waiting.join(a_demand("z", "third", memory_mib=300), 100.0)
    assert made(dispatcher, 100.0) in ([third], [other])


def test_a_warm_container_is_handed_out_whatever_its_tenant_waits_for_otherwise() -> None:
    dispatcher, _ = a_dispatcher_with_a_large_demand()
    put_vm(dispatcher.fleet, "vm-c", tenant="acme")
    put_container(dispatcher.fleet, "c-c", "vm-c", a_version("warm"), ContainerState.IDLE, 99.0)
    warm = dispatcher.waiting.join(a_demand("warm"), 100.0)
    (hand,) = dispatcher.round(100.0, may_refuse=True)
    assert isinstance(hand, Hand)
    assert hand.ticket == warm
