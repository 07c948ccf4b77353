"""What the scheduler promises, in small worlds in which everything goes wrong that can. A failing seed is a test."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.simulation.faults import HARSH, Faults
from tests.simulation.machines import Misfortune
from tests.simulation.small import lived
from tests.simulation.workloads import Times, bursts, daily, poisson, simple, timer

pytestmark = pytest.mark.thorough

GOOD_ENDS = {"answered", "lost", "cancelled", "DEADLINE_EXCEEDED", "NO_CAPACITY", "QUEUE_FULL"}
"""How calls may end. One is `lost` whose container or host was lost while it ran."""

shares = st.sampled_from((0.0, 0.05, 0.3))
faults = st.builds(
    Faults,
    mean_between_s=st.sampled_from((0.0, 4.0, 15.0)),
    misfortune=st.builds(Misfortune, clone_fails=shares, container_fails=shares, told_twice=shares),
    calls_slow=shares,
    callers_leave=shares,
)


@given(
    seed=st.integers(0, 2**32),
    hosts=st.integers(1, 4),
    host_memory_mib=st.sampled_from((1024, 2048, 4096)),
    rate_s=st.sampled_from((2.0, 6.0, 12.0)),
    faults=faults,
)
@example(seed=159, hosts=3, host_memory_mib=4096, rate_s=4.0, faults=HARSH)
@settings(deadline=None, max_examples=10)
def test_whatever_goes_wrong_nothing_is_overcommitted_shared_forgotten_or_left(
    seed: int, hosts: int, host_memory_mib: int, rate_s: float, faults: Faults
) -> None:
    arrivals = simple(seed, 12, rate_s, 30.0)
    lived(arrivals, seed=seed, hosts=hosts, host_memory_mib=host_memory_mib, faults=faults)


@pytest.mark.parametrize("seed", range(4))
def test_calls_end_by_an_answer_or_for_a_reason_that_the_caller_is_told(seed: int) -> None:
    measures = lived(simple(seed, 12, 10.0, 40.0, bursts), seed=seed, faults=HARSH)
    assert set(measures.ends) - GOOD_ENDS <= {"CLONE_FAILED", "CONTAINER_FAILED", "VM_LOST", "HOST_LOST"}


@pytest.mark.parametrize("shape", [poisson, timer, bursts], ids=lambda shape: shape.__name__)
def test_where_nothing_goes_wrong_and_there_is_room_every_call_is_answered(shape: Callable[..., Times]) -> None:
    arrivals = simple(1, 9, 3.0, 60.0, shape)
    assert lived(arrivals, hosts=5).ends == {"answered": len(arrivals)}


def test_a_day_has_a_night() -> None:
    times = list(daily(Random(1), poisson(Random(2), 10.0, 100.0), 100.0))
    by_day = sum(25 <= at_s < 75 for at_s in times)
    assert by_day > 3 * (len(times) - by_day)
