"""What goes wrong, and when: a plan drawn from a seed before a run begins.

Messages come late by a stalled host (all of its messages, in their order, as a stream delivers them) and by slow calls
of frontends; reports and results come twice. No message is lost while its stream stands: gRPC does not lose any.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.simulation.machines import Misfortune

FAIR = Misfortune()


@dataclass(frozen=True, slots=True)
class HostCrash:
    """A host loses all it has, and is back later."""

    host: int
    down_s: float


@dataclass(frozen=True, slots=True)
class Partition:
    """A host's stream to the scheduler breaks; its VMs go on, and it connects again later."""

    host: int
    down_s: float


@dataclass(frozen=True, slots=True)
class Stall:
    """A host hears and says nothing for a while; its stream stands."""

    host: int
    for_s: float


@dataclass(frozen=True, slots=True)
class VmCrash:
    """One of a host's VMs is lost."""

    host: int


@dataclass(frozen=True, slots=True)
class FrontendDeath:
    """A frontend is killed, and another takes its place."""

    frontend: int


Fault = HostCrash | Partition | Stall | VmCrash | FrontendDeath


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong."""

    mean_between_s: float = 0.0
    """How long it takes on average from one fault to the next, in seconds; 0 for none."""
    misfortune: Misfortune = FAIR
    calls_slow: float = 0.0
    """The share of frontends' calls to the scheduler that take up to 3 s."""
    callers_leave: float = 0.0
    """The share of callers that leave within 2 s if they still wait then."""

    def plan(self, random: Random, hosts: int, frontends: int, until_s: float) -> Iterator[tuple[float, Fault]]:
        """Draws what goes wrong, with the times, the first first."""
        now_s = 0.0
        while self.mean_between_s and (now_s := now_s + random.expovariate(1 / self.mean_between_s)) < until_s:
            host = random.randrange(hosts)
            kinds: tuple[Fault, ...] = (
                HostCrash(host, random.uniform(0.1, 30)),
                Partition(host, random.uniform(0.1, 30)),
                Stall(host, random.uniform(0.1, 20)),
                VmCrash(host),
                FrontendDeath(random.randrange(frontends)),
            )
            yield now_s, random.choice(kinds)


NONE = Faults()
HARSH = Faults(
    mean_between_s=8.0,
    misfortune=Misfortune(clone_fails=0.1, container_fails=0.05, told_twice=0.1),
    calls_slow=0.05,
    callers_leave=0.05,
)
