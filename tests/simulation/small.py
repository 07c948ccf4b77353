"""Small worlds for tests: everything there happens within seconds, and all is quiet soon after the last call."""

from collections.abc import Sequence

from stoker_scheduler.config import SchedulerSettings

from tests.simulation.faults import NONE, Faults
from tests.simulation.functions import Function
from tests.simulation.invariants import Invariants
from tests.simulation.measures import Measures
from tests.simulation.workloads import Arrival
from tests.simulation.world import Scenario, World, run

QUIET_S = 200.0
"""After this time without calls everything that was kept for some has been given up, in seconds."""
SETTINGS = SchedulerSettings(
    container_idle_s=20.0,
    container_idle_least_s=10.0,
    container_idle_most_s=40.0,
    vm_idle_s=10.0,
    recovery_s=1.0,
    vm_timeout_s=20.0,
    container_timeout_s=20.0,
    command_timeout_s=5.0,
)


def lived(
    arrivals: Sequence[Arrival],
    *,
    seed: int = 0,
    hosts: int = 3,
    host_memory_mib: int = 4096,
    faults: Faults = NONE,
    frontends: int = 2,
) -> Measures:
    """Runs a small world, with the invariants looked at after each step and at the end."""
    looked: list[Invariants] = []

    def watch(world: World) -> Invariants:
        looked.append(Invariants(world))
        return looked[0]

    until_s = max((arrival.at_s for arrival in arrivals), default=0.0)
    scenario = Scenario(
        arrivals,
        SETTINGS,
        seed=seed,
        hosts=hosts,
        host_memory_mib=host_memory_mib,
        frontends=frontends,
        faults=faults,
        faults_until_s=until_s,
        quiet_s=QUIET_S,
    )
    measures = run(scenario, watch)
    assert looked[0].steps
    assert measures.ends.total() == len(arrivals)
    return measures


def at_once(function: Function, callers: int, *, at_s: float = 0.0, run_s: float = 0.05) -> list[Arrival]:
    """Callers of one function who all come at the same time."""
    return [Arrival(at_s, function, run_s)] * callers
