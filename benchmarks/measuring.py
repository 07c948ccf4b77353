"""What all benchmarks share: the machine's name, percentiles, a Stoker of their own, the line that they end with."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))
from tests.system.running_stoker import RunningStoker, running_stoker  # noqa: E402 - found by the line above
from tests.system.trace_collector import Collector, Span, running_collector  # noqa: E402 - as above

__all__ = ["Collector", "RunningStoker", "Span", "running_collector"]

IMAGES_DIR = Path("/var/lib/stoker/images")
UNSETTLED = ("creating", "assigning", "ending")
"""States of VMs and containers that are about to change by themselves."""
ACCELERATORS = {"kvm": "KVM", "qemu": "TCG (software emulation)"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise, and what was measured of it."""

    name: str
    measured: float
    limit: float
    """What it may be at the most; at the least, where `is_at_least`."""
    unit: str = "x"
    is_at_least: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        return self.measured >= self.limit if self.is_at_least else self.measured <= self.limit

    def __str__(self) -> str:
        relation = "at least" if self.is_at_least else "at most"
        return f"{self.name} {self.measured:.4g}{self.unit} ({relation} {self.limit:g}{self.unit})"


def conclude(benchmark: str, figures: str, bars: Sequence[Bar]) -> int:
    """Prints the line that a benchmark ends with; returns its exit code: 1 where a bar is missed."""
    is_kept = all(bar.is_kept for bar in bars)
    told = "; ".join(str(bar) if bar.is_kept else f"{bar} MISSED" for bar in bars)
    print(f"{benchmark}: {figures}; {told}: {'kept' if is_kept else 'missed'}", flush=True)
    return 0 if is_kept else 1


def machine(accelerator: str = "") -> str:
    """What this was measured on: processor, cores, and how guests run where there are any (`kvm` or `qemu`)."""
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    guests = f", guests by {ACCELERATORS[accelerator]}" if accelerator else ""
    return f"{model}, {len(os.sched_getaffinity(0))} cores{guests}, load {os.getloadavg()[0]:.1f}"


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that is not exceeded by this share of them."""
    return sorted(samples)[max(0, ceil(len(samples) * percent / 100) - 1)]


def describe(samples_ms: Sequence[float]) -> str:
    """Percentiles of latencies in milliseconds."""
    return ", ".join(f"p{percent} {percentile(samples_ms, percent):.2f}" for percent in (50, 90, 99)) + " ms"


async def latencies(call: Callable[[], Awaitable[object]], callers: int, count: int) -> list[float]:
    """Calls `count` times, as many at once as there are callers; returns how long each call took in milliseconds."""
    took_ms: list[float] = []

    async def keep_calling() -> None:
        for _ in range(count // callers):
            begun_s = time.perf_counter()
            await call()
            took_ms.append((time.perf_counter() - begun_s) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(keep_calling())
    return took_ms


@contextmanager
def own_stoker(settings: Mapping[str, str] | None = None) -> Generator[RunningStoker]:
    """Starts a Stoker on free ports with the images of this machine, and removes it on leaving, also at SIGTERM.

    Args:
        settings: Environment variables of its services.
    """
    signal.signal(signal.SIGTERM, _end)
    with running_stoker({"STOKER_HOSTAGENT_IMAGES_DIR": str(IMAGES_DIR), **(settings or {})}) as running:
        yield running


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def accelerator_of(running: RunningStoker) -> str:
    """What runs the guests of a Stoker: `kvm` or `qemu`."""
    return running.fleet().hosts[0].accelerator


def wait_until_settled(running: RunningStoker, for_s: float = 3, timeout_s: float = 120) -> None:
    """Waits until nothing has been made or ended in the fleet for so long, so that nothing of that is measured."""
    give_up_s = time.monotonic() + timeout_s
    since_s = time.monotonic()
    last = None
    while time.monotonic() - since_s < for_s:
        if time.monotonic() > give_up_s:
            raise SystemExit(f"the fleet did not settle within {timeout_s:g} s: {last}")
        fleet = running.fleet()
        now = sorted((vm.id, vm.state) for vm in fleet.vms) + sorted((each.id, each.state) for each in fleet.containers)
        is_settled = not any(state in UNSETTLED for _, state in now)
        if now != last or not is_settled:
            last, since_s = now, time.monotonic()
        time.sleep(0.2)


def cpu_ms(pid: int) -> float:
    """The time on a processor that a process has had, in milliseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def pid_of_vm(running: RunningStoker, vm: str) -> int:
    """The process that is a virtual machine."""
    return int(Path(f"/run/libvirt/qemu/stoker-{running.fleet().hosts[0].id}-{vm}.pid").read_text())
