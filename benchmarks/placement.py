"""How many decisions a second the scheduler makes, how that depends on the size of the fleet, and on who waits.

A decision is what `Dispatcher.round` does for a demand: it finds the container, VM or host, and changes the model of
the fleet. Its time includes all of the model's later changes because of it: the VM that boots, the container that is
made, leased and given back, what ends to make room. Only the commands to hosts are left out, since there are no hosts.
"""

import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import log

from measuring import Bar, conclude, machine, percentile
from stoker_scheduler.dispatch import Dispatcher, Hand, Make
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.idle_times import KeepAlivePolicy
from stoker_scheduler.keep_alive import Ending, KeepAlive, empty_for_long
from stoker_scheduler.machines import Container, ContainerState, Demand, Host, Shape, Version, Vm, VmState
from stoker_scheduler.waiting import Waiting
from stoker_scheduler.warming_pool import PoolPolicy

SIZES = (10, 100, 1000)
VMS_PER_HOST = 20
ROOM_PER_HOST = 4
"""For how many VMs more a host has memory."""
SHAPE = Shape(1, 512)
RESERVE_MIB = 112
PYTHON, NODEJS = 1, 2
BLANKS = ((PYTHON, 1), (NODEJS, 1))
DEMANDS_PER_HOST_S = 20
LEASED_PER_HOST = 28
IDLE_S = 2.0
"""How long containers are kept; until they have come and gone once the model is warmed up."""
EMPTY_S = 1.0
DECISIONS = DEMANDS_PER_HOST_S * SIZES[-1]
PARTS = 20
STUCK = 1000
"""How many distinct versions wait in a full fleet."""
TENANTS = 50
"""Whose they are."""
REPEATS = 200


class Model:
    """A fleet in which every host has VMs of many tenants, some of the warming pool, and a little room."""

    def __init__(self, hosts: int, *, room_per_host: int = ROOM_PER_HOST) -> None:
        self.random = random.Random(hosts)  # noqa: S311 - the same workload each time
        ids = count(1)
        self.keep_alive = KeepAlive(KeepAlivePolicy(IDLE_S, IDLE_S, IDLE_S))
        self.fleet = Fleet(SHAPE, RESERVE_MIB, idled=self.keep_alive.idled)
        self.dispatcher = Dispatcher(
            self.fleet,
            Waiting(10_000, 10_000),
            lambda prefix: f"{prefix}{next(ids):012x}",
            wanted=self.keep_alive.wanted,
        )
        self.versions = [a_version(f"t{tenant}", number) for tenant in range(4 * hosts) for number in range(4)]
        self.placements: Counter[str] = Counter()
        self.leased: list[str] = []
        self.now_s = 0.0
        memory_mib = (VMS_PER_HOST + room_per_host) * SHAPE.memory_mib
        for number in range(hosts):
            self.fleet.add_host(Host(f"h{number:04}", f"10.0.0.1:{number}", memory_mib, 8))
            for _ in range(VMS_PER_HOST):
                self._add_vm(f"h{number:04}")

    def _add_vm(self, host: str) -> None:
        tenant = "" if self.random.random() < 0.1 else f"t{self.random.randrange(len(self.versions) // 4)}"
        state = VmState.ACTIVE if tenant else VmState.WARMING
        vm = self.dispatcher.fleet
        id_ = f"vm-{host}-{len(vm.vms_on(host)):02}"
        memory_mib = SHAPE.memory_mib - RESERVE_MIB
        self.fleet.put_vm(Vm(id_, host, SHAPE, state, memory_mib, tenant, 0.0, BLANKS))
        for number in range(self.random.randrange(1, 4) if tenant else 0):
            version = a_version(tenant, self.random.randrange(4))
            if version.memory_mib <= self.fleet.vm_free_mib(id_):
                is_leased = self.random.random() < 0.7
                container = f"c-{id_}-{number}"
                state = ContainerState.LEASED if is_leased else ContainerState.IDLE
                self.fleet.put_container(Container(container, id_, version, state))
                if is_leased:
                    self.leased.append(container)

    def decide(self) -> None:
        """A demand comes and is served, and a container is given back; each second there is upkeep."""
        second = int(self.now_s)
        self.now_s += 1 / (DEMANDS_PER_HOST_S * len(self.fleet.hosts))
        self.dispatcher.waiting.join(Demand(self.random.choice(self.versions), "frontend"), self.now_s)
        self.carry_out()
        if len(self.leased) > LEASED_PER_HOST * len(self.fleet.hosts):
            self.give_back()
        if int(self.now_s) > second:
            self.upkeep()

    def upkeep(self) -> None:
        """What is too old ends, and the warming pool is filled."""
        for container in self.keep_alive.ending(self.fleet, self.now_s):
            self.fleet.remove_container(container, self.now_s)
        for vm in empty_for_long(self.fleet, self.now_s, EMPTY_S):
            self.fleet.remove_vm(vm, self.now_s)
        for vm in self.dispatcher.fill_pool(PoolPolicy(1, 2, 4, creations_at_once=len(self.fleet.hosts)), self.now_s):
            self.fleet.put_vm(replace(vm, state=VmState.WARMING, blanks=BLANKS))

    def carry_out(self) -> None:
        """Does at once what is decided, until nothing more is."""
        while decisions := self.dispatcher.round(self.now_s, may_refuse=True):
            for decision in decisions:
                match decision:
                    case Hand(_, container):
                        self.placements["UseContainer"] += 1
                        self.leased.append(container.id)
                    case Make(_, container, placement):
                        self.placements[type(placement).__name__] += 1
                        self._make(container)
                    case Ending(containers, vms):
                        for container in containers:
                            self.fleet.remove_container(container, self.now_s)
                        for vm in vms:
                            self.fleet.remove_vm(vm, self.now_s)
                    case _:
                        raise AssertionError("nothing is too large")

    def _make(self, container: Container) -> None:
        vm = self.fleet.vm(container.vm)
        if vm.state is not VmState.ACTIVE:
            self.fleet.put_vm(replace(vm, state=VmState.ACTIVE))
        if self.dispatcher.hand(container, self.now_s):
            self.leased.append(container.id)

    def give_back(self) -> None:
        """A container that somebody had falls idle."""
        at = self.random.randrange(len(self.leased))
        self.leased[at], self.leased[-1] = self.leased[-1], self.leased[at]
        if container := self.fleet.find_container(self.leased.pop()):
            self.fleet.put_container(replace(container, state=ContainerState.IDLE, since_s=self.now_s))


@dataclass(frozen=True, slots=True)
class Measured:
    """What one size of fleet took."""

    hosts: int
    vms: int
    decision_us: float
    placements: Counter[str]


def a_version(tenant: str, number: int) -> Version:
    uid = f"{tenant}-v{number}"
    memory_mib = (64, 128, 128, 256)[number]
    artifact = f"{number % 2:064x}"
    return Version(uid, tenant, f"f{number}", 1, artifact, memory_mib, runtime=(PYTHON, NODEJS)[number % 2])


def measure() -> list[Measured]:
    """The time of a decision in fleets of all sizes, taken in turns, so that they share what else the machine does.

    At each size the decisions are those of at least one second of the model, so that its upkeep is in their time.
    """
    models = [Model(hosts) for hosts in SIZES]
    for model in models:
        while model.now_s < IDLE_S + EMPTY_S:
            model.decide()
        model.placements.clear()
    took_s = [0.0] * len(models)
    for _ in range(PARTS):
        for number, model in enumerate(models):
            gc.collect()
            begun_s = time.process_time()
            for _ in range(DECISIONS // PARTS):
                model.decide()
            took_s[number] += time.process_time() - begun_s
    measured: list[Measured] = []
    for model, seconds in zip(models, took_s, strict=True):
        made = sum(model.placements.values())
        if made < DECISIONS * 0.99:
            raise AssertionError(f"only {made} of {DECISIONS} demands were served")
        measured.append(Measured(len(model.fleet.hosts), len(model.fleet.vms), seconds / made * 1e6, model.placements))
    return measured


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long rounds took in a full fleet in which many versions wait, in milliseconds."""

    nothing: list[float]
    """When another demand came, for which there is no room either."""
    handed: list[float]
    """When a container of a version that is waited for fell idle."""
    ended: list[float]
    """When a VM fell idle, so that it can make way."""
    served: list[float]
    """When it was gone, so that there was room for one of them."""


def a_full_model(hosts: int) -> Model:
    """A fleet without room: every container is leased, and no VM could be used by anybody else."""
    model = Model(hosts, room_per_host=0)
    fleet = model.fleet
    for container in list(fleet.containers):
        fleet.put_container(replace(container, state=ContainerState.LEASED, since_s=0.0))
    for vm in list(fleet.vms):
        if not fleet.containers_in(vm.id):
            fleet.put_vm(replace(vm, state=VmState.ACTIVE, tenant=vm.tenant or "full"))
            version = replace(a_version(vm.tenant or "full", 3), memory_mib=fleet.vm_free_mib(vm.id))
            fleet.put_container(Container(f"c-{vm.id}", vm.id, version, ContainerState.LEASED))
    return model


def measure_rounds(hosts: int) -> Rounds:
    """The times of rounds while many versions wait."""
    model, rounds, numbers = a_full_model(hosts), Rounds([], [], [], []), count()
    fleet, waiting = model.fleet, model.dispatcher.waiting
    shared = [vm.id for vm in fleet.vms if len(fleet.containers_in(vm.id)) > 1]

    def wait() -> Version:
        number = next(numbers)
        version = replace(a_version(f"waits-{number % TENANTS}", 3), uid=f"stuck-{number}", memory_mib=400)
        waiting.join(Demand(version, "frontend"), model.now_s)
        return version

    for _ in range(STUCK):
        wait()
    model.dispatcher.round(model.now_s, may_refuse=True)
    for number in range(REPEATS):
        wait()
        rounds.nothing.append(a_round(model, Make, 0))
        container = fleet.containers_in(shared[number])[0]
        wanted = replace(container.version, uid=f"handed-{number}")
        waiting.join(Demand(wanted, "frontend"), model.now_s)
        model.dispatcher.round(model.now_s, may_refuse=True)
        fleet.put_container(replace(container, version=wanted, state=ContainerState.IDLE))
        rounds.handed.append(a_round(model, Hand, 1))
        for other in fleet.containers_in(shared[-1 - number]):
            fleet.put_container(replace(other, state=ContainerState.IDLE))
        rounds.ended.append(a_round(model, Ending, 1))
        fleet.remove_vm(shared[-1 - number], model.now_s)
        rounds.served.append(a_round(model, Make, 1))
    return rounds


def a_round(model: Model, kind: type[object], least: int) -> float:
    """Has a round decide, and returns how long it took in milliseconds."""
    begun_s = time.process_time()
    decisions = model.dispatcher.round(model.now_s, may_refuse=True)
    took_ms = (time.process_time() - begun_s) * 1000
    if sum(isinstance(decision, kind) for decision in decisions) < least:
        raise AssertionError(f"a round that was to decide a {kind.__name__} decided {decisions}")
    return took_ms


def growth(measured: Sequence[Measured]) -> tuple[float, float]:
    """The line a + b ln(VMs) that lies closest to the times of decisions, in microseconds: a and b."""
    points = [(log(one.vms), one.decision_us) for one in measured]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return mean_y - slope * mean_x, slope


def main() -> int:
    """Measures, and tells."""
    print(f"placement: {machine()}", flush=True)
    measured = measure()
    for one in measured:
        mix = ", ".join(f"{name} {number / DECISIONS:.0%}" for name, number in sorted(one.placements.items()))
        print(f"  {one.hosts:5} hosts, {one.vms:6} VMs: {one.decision_us:6.1f} us a decision, ", end="")
        print(f"{1e6 / one.decision_us:6.0f}/s; {mix}", flush=True)
    base_us, slope_us = growth(measured)
    print(f"  closest line: {base_us:.1f} us + {slope_us:.2f} us * ln(VMs)")
    rounds = measure_rounds(SIZES[-1])
    for name in ("nothing", "handed", "ended", "served"):
        took_ms: list[float] = getattr(rounds, name)
        print(f"  round with {STUCK} versions waiting, {name}: p50 {percentile(took_ms, 50):.3f} ms, ", end="")
        print(f"p99 {percentile(took_ms, 99):.3f} ms")
    smallest, largest = measured[0], measured[-1]
    slowest_ms = max(percentile(one, 50) for one in (rounds.nothing, rounds.handed, rounds.ended, rounds.served))
    bars = [
        Bar("decisions", 1e6 / largest.decision_us, 5000, "/s", is_at_least=True),
        Bar(
            f"growth from {smallest.vms} to {largest.vms} VMs",
            largest.decision_us / smallest.decision_us,
            round(log(largest.vms) / log(smallest.vms), 2),
        ),
        Bar(f"slowest kind of round, in decisions, with {STUCK} waiting", slowest_ms * 1000 / largest.decision_us, 10),
    ]
    figures = f"{SIZES[-1]} hosts, {largest.vms} VMs, {largest.decision_us:.0f} us a decision"
    return conclude("placement", figures, bars)


if __name__ == "__main__":
    sys.exit(main())
