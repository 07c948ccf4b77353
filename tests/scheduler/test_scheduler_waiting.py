"""The queue is bounded and fair, and makes no more containers than it needs."""

from itertools import count

import pytest
from stoker_scheduler.dispatch import Dispatcher, Hand, Make
from stoker_scheduler.machines import ContainerState, Demand
from stoker_scheduler.waiting import Ticket, Waiting
from stoker_service.errors import ErrorKind, StokerError

from tests.scheduler.values import a_demand, a_fleet, a_version, put_container, put_vm


def a_dispatcher(*host_mib: int) -> Dispatcher:
    ids = count(1)
    return Dispatcher(a_fleet(*host_mib), Waiting(100, 100), lambda prefix: f"{prefix}{next(ids)}")


def made(dispatcher: Dispatcher, now_s: float = 0.0) -> list[Ticket]:
    decisions = dispatcher.round(now_s, may_refuse=True)
    return [decision.ticket for decision in decisions if isinstance(decision, Make)]


def test_a_full_queue_says_so_and_when_to_try_again() -> None:
    waiting = Waiting(3, 2)
    waiting.join(a_demand())
    waiting.join(a_demand())
    with pytest.raises(StokerError) as of_tenant:
        waiting.join(a_demand())
    waiting.join(a_demand(tenant="other"))
    with pytest.raises(StokerError) as of_all:
        waiting.join(a_demand(tenant="third"))
    for caught in (of_tenant.value, of_all.value):
        assert (caught.kind, caught.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert caught.retry_after_s is not None
    assert of_tenant.value.metadata == {"tenant": "acme"}


def test_whoever_leaves_makes_room_and_is_served_no_more() -> None:
    waiting = Waiting(1, 1)
    ticket = waiting.join(a_demand())
    assert waiting.leave(ticket)
    assert not waiting.leave(ticket)
    assert ticket not in waiting
    assert waiting.join(a_demand()) in waiting


def test_who_comes_back_has_its_old_place() -> None:
    waiting = Waiting(10, 10)
    first, second = waiting.join(a_demand()), waiting.join(a_demand())
    waiting.leave(first)
    waiting.rejoin(first)
    waiting.rejoin(first)
    assert (waiting.first("v1"), len(waiting)) == (first, 2)
    waiting.leave(first)
    assert waiting.first("v1") == second


def test_tenants_take_turns_whatever_the_length_of_their_queues() -> None:
    dispatcher = a_dispatcher(8 * 512)
    flood = [dispatcher.waiting.join(a_demand(f"v{number}", memory_mib=400)) for number in range(20)]
    single = dispatcher.waiting.join(a_demand("w", "other", memory_mib=400))
    assert made(dispatcher)[:3] == [flood[0], single, flood[1]]


def test_whose_turn_it_is_is_remembered_from_round_to_round() -> None:
    dispatcher = a_dispatcher(512)
    flood = [dispatcher.waiting.join(a_demand(f"v{number}", memory_mib=400)) for number in range(3)]
    single = dispatcher.waiting.join(a_demand("w", "other", memory_mib=400))
    assert made(dispatcher) == [flood[0]]
    for vm in list(dispatcher.fleet.vms):
        dispatcher.fleet.remove_vm(vm.id, 0.0)
    dispatcher.waiting.leave(flood[0])
    assert made(dispatcher) == [single]


def test_within_a_tenant_it_is_first_come_first_served() -> None:
    dispatcher = a_dispatcher(3 * 512)
    tickets = [dispatcher.waiting.join(a_demand(uid, memory_mib=400)) for uid in ("b", "a", "b", "c")]
    assert made(dispatcher) == tickets[:3]


def test_a_demand_that_fits_passes_one_that_does_not() -> None:
    dispatcher = a_dispatcher(2048)
    put_vm(dispatcher.fleet, "vm-1", tenant="other")
    put_container(dispatcher.fleet, "c-1", "vm-1", a_version("x", "other"), ContainerState.LEASED)
    dispatcher.waiting.join(a_demand("large", memory_mib=1500))
    small = dispatcher.waiting.join(a_demand("small"))
    assert made(dispatcher) == [small]


def test_many_callers_of_one_cold_version_get_a_container_each_and_no_more() -> None:
    dispatcher = a_dispatcher(4096)
    for _ in range(10):
        dispatcher.waiting.join(a_demand())
    assert len(made(dispatcher)) == 10
    assert made(dispatcher) == []
    dispatcher.waiting.join(a_demand())
    assert len(made(dispatcher)) == 1


def test_what_falls_idle_goes_to_whoever_waits_longest_and_what_was_made_for_it_to_the_next() -> None:
    dispatcher = a_dispatcher(512)
    first, second = (dispatcher.waiting.join(a_demand(memory_mib=200)) for _ in range(2))
    decisions = dispatcher.round(0.0, may_refuse=True)
    containers = [decision.container for decision in decisions if isinstance(decision, Make)]
    assert [type(decision) for decision in decisions] == [Make, Make]

    hands = [dispatcher.hand(container, 1.0) for container in reversed(containers)]
    assert [hand and hand.ticket for hand in hands] == [first, second]


def test_what_was_made_for_nobody_stays_warm_for_the_next() -> None:
    dispatcher = a_dispatcher(512)
    ticket = dispatcher.waiting.join(a_demand())
    (making,) = (decision for decision in dispatcher.round(0.0, may_refuse=True) if isinstance(decision, Make))
    dispatcher.waiting.leave(ticket)
    assert dispatcher.hand(making.container, 1.0) is None

    again = dispatcher.waiting.join(a_demand())
    (hand,) = dispatcher.round(2.0, may_refuse=True)
    assert isinstance(hand, Hand)
    assert (hand.ticket, hand.container.id) == (again, making.container.id)


def test_an_idle_container_serves_a_caller_for_whom_another_is_being_made() -> None:
    dispatcher = a_dispatcher(1024)
    first = dispatcher.waiting.join(a_demand())
    dispatcher.round(0.0, may_refuse=True)
    put_vm(dispatcher.fleet, "vm-x", tenant="acme")
    put_container(dispatcher.fleet, "c-x", "vm-x", a_version(), ContainerState.IDLE)
    second = dispatcher.waiting.join(a_demand())
    decisions = dispatcher.round(0.0, may_refuse=True)
    assert [(type(decision), getattr(decision, "ticket", None)) for decision in decisions] == [(Hand, first)]
    assert second in dispatcher.waiting


def test_demands_of_two_frontends_keep_their_holders() -> None:
    waiting = Waiting(10, 10)
    for holder in ("f1", "f2"):
        waiting.join(Demand(a_version(), holder))
    second = waiting.nth("v1", 1)
    assert second is not None
    assert second.demand.holder == "f2"
