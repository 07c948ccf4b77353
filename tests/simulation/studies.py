"""Which runs are made to compare policies, and what is kept of each."""

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from tests.simulation.baselines import POLICIES, Policy
from tests.simulation.logs import quiet_logs
from tests.simulation.measures import COLD, PRIMED, WARM, Measures, Sample
from tests.simulation.workloads import azure
from tests.simulation.world import Scenario, run

PROGRESS_S = 15.0
"""How often a run tells how far it is, in seconds."""

COLLECTED_EVERY = (50_000, 20, 1000)
"""How many objects more than before there are when the youngest are collected, and how many such collections there are
before the older ones are looked at."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a world is, and its workload."""

    name: str
    hosts: int
    host_memory_mib: int
    functions: int
    calls: int
    hours: float
    seed: int


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a policy, by its number, with a value of its knob, in a world."""

    size: Size
    policy: int
    value: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a run."""

    size: Size
    policy: str
    knob: str
    value: float
    is_meant: bool
    """Whether the knob stands where the policy means it to."""
    calls: int
    answered: int
    cold_share: float
    primed_share: float
    warm_share: float
    waited_for_vm: int
    wait_p50_s: float
    wait_p99_s: float
    wait_p999_s: float
    wasted_gib_h: float
    allocated_gib_h: float
    commands: int
    leases: int
    cpu_s: float
    digest: str
    samples: tuple[Sample, ...]

    @property
    def decisions_per_s(self) -> float:
        """Leases granted and commands given, each second of processor time of the whole run."""
        return (self.leases + self.commands) / max(0.001, self.cpu_s)


def jobs_for(size: Size, *, is_sweep: bool) -> list[Job]:
    """The runs of all policies in a world: each as it is meant, or with all values of its knob."""
    return [
        Job(size, number, value)
        for number, policy in enumerate(POLICIES)
        for value in (policy.values if is_sweep else policy.values[:1])
    ]


def outcomes(jobs: Sequence[Job], processes: int) -> Iterator[Outcome]:
    """Makes the runs, several at once in a process each, and yields what came of them, in order."""
    # Each run begins from the same: nothing of one is left for the next.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        yield from pool.map(outcome, jobs)


def outcome(job: Job) -> Outcome:
    """Makes a run."""
    policy = POLICIES[job.policy]
    name = f"{job.size.name}, {policy.name}, {policy.knob} {job.value:g}"
    until_s = job.size.hours * 3600
    arrivals = azure(job.size.seed, job.size.functions, job.size.calls, until_s)
    scenario = Scenario(
        arrivals,
        policy.settings(job.value),
        seed=job.size.seed,
        hosts=job.size.hosts,
        host_memory_mib=job.size.host_memory_mib,
    )
    # The workload stays, and so does most of the world: to look through all of it for garbage again and again would be
    # a fifth of the run. Young garbage is still found.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_EVERY)
    with quiet_logs():
        measures = run(scenario, sampled=_Progress(name, len(arrivals)).tell)
    print(f"{name}: done in {measures.cpu_s:.0f} s of processor time", file=sys.stderr, flush=True)
    return _outcome(job, policy, measures)


def _outcome(job: Job, policy: Policy, measures: Measures) -> Outcome:
    calls = max(1, measures.calls)
    return Outcome(
        size=job.size,
        policy=policy.name,
        knob=policy.knob,
        value=job.value,
        is_meant=job.value == policy.values[0],
        calls=measures.ends.total(),
        answered=measures.ends["answered"],
        cold_share=measures.starts[COLD] / calls,
        primed_share=measures.starts[PRIMED] / calls,
        warm_share=measures.starts[WARM] / calls,
        waited_for_vm=measures.waited_for_vm,
        wait_p50_s=measures.wait_s(0.5),
        wait_p99_s=measures.wait_s(0.99),
        wait_p999_s=measures.wait_s(0.999),
        wasted_gib_h=measures.wasted_gib_h,
        allocated_gib_h=measures.allocated_gib_h,
        commands=measures.commands,
        leases=measures.leases,
        cpu_s=measures.cpu_s,
        digest=measures.digest,
        samples=tuple(measures.samples),
    )


class _Progress:
    """Tells how far a run is."""

    def __init__(self, name: str, calls: int) -> None:
        self._name = name
        self._calls = calls
        self._next_s = time.monotonic() + PROGRESS_S

    def tell(self, measures: Measures) -> None:
        if time.monotonic() > self._next_s:
            self._next_s = time.monotonic() + PROGRESS_S
            share = measures.ends.total() / max(1, self._calls)
            print(f"{self._name}: {share:.0%}", file=sys.stderr, flush=True)


def by_policy(made: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by policy, each policy's by the value of its knob."""
    found: dict[str, list[Outcome]] = {policy.name: [] for policy in POLICIES}
    for each in made:
        found[each.policy].append(each)
    return {name: sorted(each, key=lambda one: one.value) for name, each in found.items()}
