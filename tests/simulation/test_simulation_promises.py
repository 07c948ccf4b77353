"""What callers are promised, seen from the first call to the quiet after the last."""

import pytest

from tests.simulation.functions import Function
from tests.simulation.small import at_once, lived
from tests.simulation.workloads import Arrival

COLD_S = 3.0
"""Within this time a call has its container where nothing is there yet and there is room, in seconds."""


def test_ten_callers_of_a_cold_function_make_no_more_containers_than_they_need() -> None:
    measures = lived(at_once(Function("acme", "hello"), 10))
    assert measures.ends == {"answered": 10}
    assert measures.created_containers <= 10


def test_callers_share_a_container_that_runs_several_at_once() -> None:
    function = Function("acme", "hello", concurrency=10)
    warm_up = Arrival(0.0, function, 0.05)
    measures = lived([warm_up, *at_once(function, 10, at_s=2.0, run_s=1.0)], frontends=1)
    assert measures.created_containers == 1
    assert measures.starts["warm"] == 10


def test_callers_who_come_one_after_the_other_share_one_container() -> None:
    function = Function("acme", "hello")
    measures = lived([Arrival(second * 2.0, function, 0.05) for second in range(30)], frontends=1)
    assert measures.created_containers == 1
    assert (measures.starts["cold"] + measures.starts["primed"], measures.starts["warm"]) == (1, 29)


@pytest.mark.parametrize("hosts", [1, 3])
def test_one_tenants_flood_delays_no_others_single_request(hosts: int) -> None:
    flood = at_once(Function("flooder", "busy"), 400, run_s=2.0)
    single = Arrival(1.0, Function("acme", "hello"), 0.05)
    measures = lived([*flood, single], hosts=hosts, host_memory_mib=2048)
    # One run of the flood may have to end first, and a VM to be made.
    assert measures.waited_s["acme"] <= [2.0 + COLD_S]


def test_a_vm_of_the_warming_pool_spares_the_caller_its_making() -> None:
    measures = lived([Arrival(20.0, Function("acme", "hello"), 0.05)])
    assert measures.waited_for_vm == 0
    assert measures.starts == {"primed": 1}
