"""What is measured while a simulation runs."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from stoker_frontend.runs import Start

from tests.simulation.functions import Call

MIB_S_PER_GIB_H = 1024 * 3600.0
SAMPLE_S = 60.0
"""How far the points of the curves over time lie apart, in seconds."""
COLD, PRIMED, WARM = "cold", "primed", "warm"


@dataclass(frozen=True, slots=True)
class Sample:
    """How things stand at one time."""

    now_s: float
    allocated_mib: int
    running_mib: int
    calls: int
    cold: int
    primed: int


@dataclass(slots=True)
class Measures:
    """All that a run shows."""

    clock: Callable[[], float]
    none_open: Callable[[], None] = lambda: None
    """Called whenever the last open call has ended."""
    sampled: "Callable[[Measures], None] | None" = None
    """Called whenever another sample has been taken."""
    open_calls: dict[Call, None] = field(default_factory=dict[Call, None])
    """Those that have come and not ended."""
    allocated_mib: int = 0
    running_mib: int = 0
    allocated_mib_s: float = 0.0
    running_mib_s: float = 0.0
    starts: Counter[str] = field(default_factory=Counter[str])
    waited_for_vm: int = 0
    """How many of the cold starts waited for a VM that had to be made."""
    ends: Counter[str] = field(default_factory=Counter[str])
    waits_s: list[float] = field(default_factory=list[float])
    """How long calls waited for their container, in seconds; those that did not wait at all are left out."""
    waited_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    """The same by tenant."""
    commands: int = 0
    created_containers: int = 0
    leases: int = 0
    """How many leases the scheduler granted."""
    samples: list[Sample] = field(default_factory=list[Sample])
    cpu_s: float = 0.0
    """The processor time that the run took, in seconds."""
    _memory_s: float = 0.0
    _digest: blake2b = field(default_factory=lambda: blake2b(digest_size=16))

    @property
    def calls(self) -> int:
        """How many calls have found their container."""
        return self.starts.total()

    @property
    def digest(self) -> str:
        """Tells two runs apart that differ in any event or its time."""
        return self._digest.hexdigest()

    @property
    def cold_share(self) -> float:
        """The share of calls for which a container or a VM had to be made."""
        return self.starts[COLD] / max(1, self.calls)

    @property
    def wasted_gib_h(self) -> float:
        """Memory that VMs took while nothing ran in it, in GiB hours."""
        return (self.allocated_mib_s - self.running_mib_s) / MIB_S_PER_GIB_H

    @property
    def allocated_gib_h(self) -> float:
        """Memory that VMs took, in GiB hours."""
        return self.allocated_mib_s / MIB_S_PER_GIB_H

    def wait_s(self, share: float) -> float:
        """The time within which this share of the calls had their container, in seconds."""
        waited = sorted(self.waits_s)
        at = int(share * self.calls) - (self.calls - len(waited))
        return waited[min(at, len(waited) - 1)] if at >= 0 and waited else 0.0

    def allocated(self, mib: int) -> None:
        """VMs take so much more memory from now on."""
        self._integrate()
        self.allocated_mib += mib

    def ran(self, mib: int) -> None:
        """Containers of so much more memory run something from now on."""
        self._integrate()
        self.running_mib += mib

    def leased(self) -> None:
        """The scheduler granted a lease."""
        self.leases += 1

    def note(self, event: str) -> None:
        """Something was commanded."""
        self.commands += 1
        self.created_containers += event.startswith("create c-")
        self._digest.update(f"{self.clock()!r} {event}\n".encode())

    def came(self, call: Call) -> None:
        """A call has come."""
        self.open_calls[call] = None

    def began(self, call: Call, start: Start, vm_ready_s: float) -> None:
        """A call found its container, in a VM that had been made at that time."""
        call.is_running = True
        waited_s = self.clock() - call.arrived_s
        if waited_s > 0:
            self.waits_s.append(waited_s)
            self.waited_s[call.function.tenant].append(waited_s)
        if start is Start.WARM:
            kind = WARM
        elif vm_ready_s > call.arrived_s:
            self.waited_for_vm += 1
            kind = COLD
        else:
            kind = PRIMED if start is Start.PRIMED else COLD
        self.starts[kind] += 1

    def ended(self, call: Call, how: str) -> None:
        """A call has ended."""
        del self.open_calls[call]
        if not self.open_calls:
            self.none_open()
        self.ends[how] += 1
        self._digest.update(f"{self.clock()!r} {call.number} {how}\n".encode())

    def sample(self) -> None:
        """Keeps how things stand."""
        self._integrate()
        self.samples.append(
            Sample(
                self._memory_s,
                self.allocated_mib,
                self.running_mib,
                self.calls,
                self.starts[COLD],
                self.starts[PRIMED],
            )
        )
        if self.sampled is not None:
            self.sampled(self)

    def _integrate(self) -> None:
        now_s = self.clock()
        passed_s = now_s - self._memory_s
        self.allocated_mib_s += passed_s * self.allocated_mib
        self.running_mib_s += passed_s * self.running_mib
        self._memory_s = now_s
