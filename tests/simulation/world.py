"""The world: hosts, frontends and the real scheduler on one virtual clock, with a workload and what goes wrong."""

import asyncio
import random as global_random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Protocol

from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.core import Core, start_core
from stoker_scheduler.service import CapacityServicer
from stoker_service.background import Background, background

from tests.simulation.clock import VirtualLoop
from tests.simulation.faults import NONE, Faults, FrontendDeath, HostCrash, Partition, Stall, VmCrash
from tests.simulation.frontends import SimulatedFrontend
from tests.simulation.functions import Call
from tests.simulation.hosts import SimulatedHost
from tests.simulation.machines import Delays
from tests.simulation.measures import SAMPLE_S, Measures
from tests.simulation.workloads import Arrival

START_S = 10.0
"""When the first call comes: hosts have joined, and the scheduler knows its fleet."""
WAIT_S = 30.0
"""How long a caller waits for a container, in seconds."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a run depends on."""

    arrivals: Iterable[Arrival]
    """The calls, the first first."""
    settings: SchedulerSettings
    seed: int = 0
    hosts: int = 5
    host_memory_mib: int = 4096
    frontends: int = 2
    faults: Faults = NONE
    faults_until_s: float = 0.0
    quiet_s: float = 0.0
    """How long the run goes on after the last call has ended, in seconds."""
    delays: Delays = field(default_factory=Delays)


class World:
    """One run. The checks look into it while it lasts."""

    def __init__(self, scenario: Scenario, core: Core, tasks: Background, measures: Measures) -> None:
        self.core = core
        self.measures = measures
        self.tasks = tasks
        self.hosts = {
            host_id: SimulatedHost(
                host_id,
                scenario.host_memory_mib,
                core,
                tasks,
                measures,
                Random(f"{host_id} {scenario.seed}"),
                delays=scenario.delays,
                misfortune=scenario.faults.misfortune,
            )
            for host_id in (f"h{number:05}" for number in range(scenario.hosts))
        }
        self.frontends: list[SimulatedFrontend] = []
        self._scenario = scenario
        self._capacity = CapacityServicer(core.capacity, core.leases, core.fleet)
        self._loop = asyncio.get_running_loop()
        self._random = Random(f"world {scenario.seed}")
        self._holders = count(1)
        self._numbers = count(1)
        self._arrivals = iter(scenario.arrivals)
        self._all_came = asyncio.Event()

    async def run(self) -> None:
        """Lives from the first host's joining to the quiet after the last call."""
        for host in self.hosts.values():
            host.connect()
        for _ in range(self._scenario.frontends):
            self.frontends.append(await self._new_frontend())
        self.tasks.start(self._go_wrong(), "faults")
        self._sample()
        self._expect(next(self._arrivals, None))
        await self._all_came.wait()
        if self.measures.open_calls:
            ended = asyncio.Event()
            self.measures.none_open = ended.set
            await ended.wait()
        await asyncio.sleep(self._scenario.quiet_s)
        self.measures.sample()

    async def close(self) -> None:
        """Ends the frontends."""
        for frontend in self.frontends:
            await frontend.die()

    def _expect(self, arrival: Arrival | None) -> None:
        if arrival is None:
            self._all_came.set()
        else:
            self._loop.call_at(START_S + arrival.at_s, self._arrive, arrival)

    def _arrive(self, arrival: Arrival) -> None:
        now_s = self._loop.time()
        call = Call(next(self._numbers), arrival.function, now_s, now_s + WAIT_S, arrival.run_s)
        self.measures.came(call)
        frontend = self._random.choice(self.frontends)
        frontend.invoke(call)
        if self._random.random() < self._scenario.faults.callers_leave:
            self._loop.call_later(self._random.uniform(0.0, 2.0), frontend.cancel, call)
        self._expect(next(self._arrivals, None))

    async def _new_frontend(self) -> SimulatedFrontend:
        holder = f"frontend-{next(self._holders)}"
        frontend = SimulatedFrontend(holder, self._capacity, self.hosts, self.measures, self._delay_s)
        await frontend.start()
        return frontend

    def _delay_s(self) -> float:
        share = self._scenario.faults.calls_slow
        return self._random.uniform(0.0, 3.0) if share and self._random.random() < share else 0.0

    async def _go_wrong(self) -> None:
        scenario, hosts = self._scenario, list(self.hosts.values())
        plan = scenario.faults.plan(
            Random(f"faults {scenario.seed}"), len(hosts), scenario.frontends, scenario.faults_until_s
        )
        for at_s, fault in plan:
            await asyncio.sleep(max(0.0, START_S + at_s - self._loop.time()))
            self.measures.note(repr(fault))
            match fault:
                case HostCrash(number, down_s) if hosts[number].is_connected:
                    hosts[number].crash()
                    for frontend in self.frontends:
                        frontend.drop_host(hosts[number].id)
                    self._loop.call_later(down_s, hosts[number].connect)
                case Partition(number, down_s) if hosts[number].is_connected:
                    hosts[number].disconnect()
                    self._loop.call_later(down_s, hosts[number].connect)
                case Stall(number, for_s):
                    hosts[number].stall(for_s)
                case VmCrash(number) if hosts[number].inventory.vms:
                    hosts[number].crash_vm(self._random.choice(list(hosts[number].inventory.vms.values())))
                case FrontendDeath(number):
                    dead = self.frontends[number]
                    self.frontends[number] = await self._new_frontend()
                    await dead.die()
                case _:
                    # It is down already, or has nothing to lose.
                    pass

    def _sample(self) -> None:
        self.measures.sample()
        self._loop.call_later(SAMPLE_S, self._sample)


class Watcher(Protocol):
    """Looks at a world while it lives."""

    def step(self) -> None:
        """All that was due at one time is done."""
        ...

    def quiet(self) -> None:
        """The quiet after the last call is over."""
        ...


def run(
    scenario: Scenario,
    watch: Callable[[World], Watcher] | None = None,
    sampled: Callable[[Measures], None] | None = None,
) -> Measures:
    """Runs a scenario to its end.

    Args:
        scenario: The scenario.
        watch: Given the world before it begins; what it returns looks on.
        sampled: Given the measures whenever another sample has been taken.
    """
    loop = VirtualLoop()
    global_random.seed(scenario.seed)  # spreads the frontends' attempts in time
    numbers = count(1)
    begun_s = time.process_time()

    async def live() -> Measures:
        measures = Measures(loop.time)
        measures.sampled = sampled
        async with background() as tasks:
            core = start_core(scenario.settings, tasks, lambda prefix: f"{prefix}{next(numbers):012x}")
            world = World(scenario, core, tasks, measures)
            watcher = watch(world) if watch else None
            if watcher:
                loop.watch(watcher.step)
            await world.run()
            if watcher:
                watcher.quiet()
            loop.watch(None)
            await world.close()
        return measures

    try:
        measures = loop.run_until_complete(live())
    finally:
        loop.close()
    measures.cpu_s = time.process_time() - begun_s
    return measures
