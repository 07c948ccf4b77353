"""How long the first answer of a function takes: with a blank container that waits, without one, without a VM.

Two Stokers run side by side, one of which keeps no blank containers. In turns a trivial Python function is deployed to
each and invoked once through the public API, in a VM that is up and the tenant's: a *primed* start loads the code into
a blank container, a *cold* one makes a container with `crun run` first. The *boot* that both are spared is that of the
first VM, from the order to its guest's answer, as the trace of the very first invocation tells. Neither makes use of
templates, which have a benchmark of their own.

All are traced. With `--draw` the trace of the median primed start becomes docs/primed_start.svg.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import stoker
from measuring import (
    IMAGES_DIR,
    ROOT,
    Bar,
    Collector,
    RunningStoker,
    Span,
    accelerator_of,
    conclude,
    describe,
    machine,
    own_stoker,
    percentile,
    running_collector,
)
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from stoker.models import Runtime, Start
from stoker_guest_image.build import build
from stoker_guest_image.progress import Progress
from stoker_guest_image.sources import find_sources
from waterfall import draw

CODE = "def handler(event, context):\n    return {number}\n"
STARTS = 7
FIRST_S = 120.0
REFILL_S = 90.0
LOOK_AGAIN_S = 0.1
SETTINGS = {
    "STOKER_HOSTAGENT_TEMPLATES_MIB": "0",
    "STOKER_SCHEDULER_WARMING_VMS": "0",
    "STOKER_SCHEDULER_WARMING_VMS_MOST": "0",
    # All functions find room in one VM.
    "STOKER_SCHEDULER_VM_MEMORY_MIB": "1024",
    # The first function waits for the boot.
    "STOKER_SCHEDULER_MAX_WAIT_S": "110",
    "OTEL_EXPORTER_OTLP_INSECURE": "true",
    # Only what is traced here is recorded.
    "OTEL_TRACES_SAMPLER_ARG": "0",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
}
LAST_SPANS = {
    "stoker.v1.InvocationService/Invoke",
    "stoker.codestore.v1.RouteService/ResolveRoute",
    "stoker.scheduler.v1.CapacityService/AcquireContainer",
    "guest.handler",
}
"""The last that each process ends."""
PICTURE = ROOT / "docs" / "primed_start.svg"


@dataclass(frozen=True, slots=True)
class Measured:
    """One first invocation."""

    took_ms: float
    spans: Sequence[Span]


@dataclass(slots=True)
class Starts:
    """First invocations of functions on one Stoker."""

    running: RunningStoker
    client: stoker.Client
    collector: Collector
    functions: int = 0
    primed: int = 0
    """How many blank containers were used."""

    def measure(self, wanted: Start | None = None) -> Measured:
        """Deploys another function, and invokes it for the first time.

        Args:
            wanted: How it has to find its container; None for any.
        """
        name = self._deploy()
        trace_id = time.time_ns()
        caller = NonRecordingSpan(SpanContext(trace_id, 1, is_remote=False, trace_flags=TraceFlags(1)))
        with trace.use_span(caller):
            begun_s = time.perf_counter()
            result = self.client.invoke(name, timeout_s=FIRST_S)
            took_ms = (time.perf_counter() - begun_s) * 1000
        self.primed += result.start is Start.PRIMED
        if wanted not in (None, result.start):
            raise SystemExit(f"{name} had a {result.start} start instead of a {wanted} one")
        spans = self.collector.wait_for(
            f"{trace_id:032x}", lambda spans: {span.name for span in spans} >= LAST_SPANS, timeout_s=20
        )
        return Measured(took_ms, spans)

    def wait_for_blanks(self) -> None:
        """Waits until each runtime has a blank container again."""
        log = self.running.home / "logs" / "hostagent.log"
        _wait_until(lambda: log.read_text().count("blank.made") >= len(Runtime) - 1 + self.primed)

    def _deploy(self) -> str:
        self.functions += 1
        name = f"first-{self.functions}"
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "main.py").write_text(CODE.format(number=self.functions))
            self.client.deploy(name, directory, runtime="python3", handler="main.handler", memory_mib=64, tmp_mib=1)
        return name


def main() -> int:
    """Measures, prints, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Measures primed starts, cold starts and boots.")
    parser.add_argument("--draw", action="store_true", help=f"write {PICTURE.relative_to(ROOT)} anew")
    arguments = parser.parse_args()
    build(IMAGES_DIR, find_sources(), Progress())
    colds, primeds = list[Measured](), list[Measured]()
    with ExitStack() as stack:
        collector, address = stack.enter_context(running_collector())
        cold = _starts(stack, collector, address, blanks=0)
        accelerator = accelerator_of(cold.running)
        print(machine(accelerator), flush=True)
        boot_ms = _length_ms(cold.measure().spans, "hostagent.create_vm")
        primed = _starts(stack, collector, address, blanks=1)
        # The first may come before there is a blank container.
        primed.measure()
        for _ in range(STARTS):
            # First, so that nothing else is under way while the other is measured.
            primed.wait_for_blanks()
            colds.append(cold.measure(Start.COLD))
            primeds.append(primed.measure(Start.PRIMED))
    primeds.sort(key=lambda measured: measured.took_ms)
    spans = primeds[len(primeds) // 2].spans
    cold_ms, primed_ms = ([measured.took_ms for measured in each] for each in (colds, primeds))
    print(f"  boot of a VM    {boot_ms:.0f} ms")
    print(f"  cold start      {describe(cold_ms)}")
    print(f"  primed start    {describe(primed_ms)}")
    _show(spans)
    if arguments.draw:
        draw(f"A primed start of a Python function ({machine(accelerator)})", spans, PICTURE)
    primed_p50, cold_p50 = percentile(primed_ms, 50), percentile(cold_ms, 50)
    bars = [
        Bar("of a cold start", primed_p50 / cold_p50, 1 / 3),
        Bar("of a boot", primed_p50 / boot_ms, 1 / 20),
    ]
    figures = f"primed start p50 {primed_p50:.0f} ms, cold {cold_p50:.0f} ms, boot {boot_ms:.0f} ms"
    return conclude("primed_vs_cold", figures, bars)


def _starts(stack: ExitStack, collector: Collector, address: str, *, blanks: int) -> Starts:
    settings = {
        **SETTINGS,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
        "STOKER_HOSTAGENT_BLANK_CONTAINERS": str(blanks),
    }
    running = stack.enter_context(own_stoker(settings))
    return Starts(running, stack.enter_context(running.client()), collector)


def _wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + REFILL_S
    while not is_so():
        if time.monotonic() > give_up_s:
            raise SystemExit(f"no blank container was made within {REFILL_S:g} s")
        time.sleep(LOOK_AGAIN_S)


def _length_ms(spans: Sequence[Span], name: str) -> float:
    (found,) = [span for span in spans if span.name == name]
    return (found.end_ns - found.start_ns) / 1e6


def _show(spans: Sequence[Span]) -> None:
    print("where the time of the median primed start goes:")
    start_ns = min(span.start_ns for span in spans)
    for span in sorted(spans, key=lambda span: span.start_ns):
        at_ms, length_ms = (span.start_ns - start_ns) / 1e6, (span.end_ns - span.start_ns) / 1e6
        print(f"  {at_ms:7.1f} {length_ms:7.1f} ms  {span.service:10} {span.name}")


if __name__ == "__main__":
    sys.exit(main())
