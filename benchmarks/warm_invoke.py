"""How much Stoker adds to a warm invocation.

A function that returns its event is invoked through the public API, warm. The floor, measured in the same run and in
turns with it, is what cannot be left out: a raw grpc.aio unary echo over two hops (`floors/two_hops.py`) plus a raw
round trip into a guest (`floors/raw_guest.py`), with as many bytes. Each of the two says what it contains. Everything
else that a warm invocation does counts as Stoker's: the key, the validation, the route, the lease, protobuf, ttrpc, the
guest agent, the container's runtime, its output.

With several callers there are as many containers, on one VM with one processor. The floor then is the same two echoes
with as many callers. The percentiles of a sum are not the sums of percentiles; the floor's are added up nevertheless,
as is usual for budgets.

Beside latencies it tells how long each process was on a processor for an invocation, which others on the machine
disturb less, and where the time of a traced invocation goes.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc.aio
from floors.raw_guest import raw_guest, round_trips
from floors.two_hops import two_hops
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from measuring import (
    IMAGES_DIR,
    Bar,
    Collector,
    RunningStoker,
    Span,
    accelerator_of,
    conclude,
    cpu_ms,
    describe,
    latencies,
    machine,
    own_stoker,
    percentile,
    pid_of_vm,
    running_collector,
    wait_until_settled,
)
from stoker_guest_image.build import build
from stoker_guest_image.progress import Progress
from stoker_guest_image.sources import find_sources
from stoker_protos.v1 import invocations_pb2, invocations_pb2_grpc

CODE = "def handler(event, context):\n    return event\n"
EVENT = json.dumps({"name": "you", "greeting": "Hello, you!", "numbers": [1, 2, 3]}).encode()
FRAME_BYTES = 250
"""About what an invocation with this event has in a frame of the guest's port."""

CALLERS = 8
ROUNDS = 8
CALLS_PER_ROUND = 240
MEASURING_S = 60.0
"""How long is measured at the most with one number of callers, for a machine that is busy with something else."""
TRACED_CALLS = 200
COLD_S = 120.0
RENEWAL_S = 10.0
"""How often the frontend renews its leases, for which it does ask the scheduler."""

SETTINGS = {
    # One VM with room for all containers, and none that is made meanwhile.
    "STOKER_SCHEDULER_VM_MEMORY_MIB": "1024",
    "STOKER_SCHEDULER_WARMING_VMS": "0",
    "STOKER_SCHEDULER_WARMING_VMS_MOST": "0",
    # A lease is kept while the floors have their turn.
    "STOKER_FRONTEND_LEASE_IDLE_S": "60",
    # Only what this benchmark traces is recorded.
    "OTEL_EXPORTER_OTLP_INSECURE": "true",
    "OTEL_TRACES_SAMPLER_ARG": "0",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies in milliseconds with one number of callers."""

    hops: list[float] = field(default_factory=list[float])
    guest: list[float] = field(default_factory=list[float])
    warm: list[float] = field(default_factory=list[float])

    def floor_ms(self, percent: float) -> float:
        """What cannot be left out."""
        return percentile(self.hops, percent) + percentile(self.guest, percent)

    def ratio(self, percent: float) -> float:
        """How much longer a warm invocation takes than the floor."""
        return percentile(self.warm, percent) / self.floor_ms(percent)

    def show(self, callers: int) -> None:
        """Prints them."""
        print(f"{callers} caller{'s' if callers > 1 else ''}:")
        print(f"  grpc.aio echo, two hops   {describe(self.hops)}")
        print(f"  raw guest round trip      {describe(self.guest)}")
        print(f"  warm invocation           {describe(self.warm)}", flush=True)


class Warm:
    """The function's invocations."""

    def __init__(self, running: RunningStoker, channel: grpc.aio.Channel) -> None:
        self._stub = cast("Any", invocations_pb2_grpc).InvocationServiceStub(channel)
        self._key = ("authorization", f"Bearer {running.configuration()['api_key']}")
        self._request = invocations_pb2.InvokeRequest(name="functions/echo", payload=EVENT)

    async def __call__(self, traceparent: str = "", timeout_s: float = 10) -> invocations_pb2.InvokeResponse:
        """Invokes it once."""
        metadata = (self._key, ("traceparent", traceparent)) if traceparent else (self._key,)
        response = await self._stub.Invoke(self._request, metadata=metadata, timeout=timeout_s)
        if not response.payload or response.HasField("function_error"):
            raise SystemExit(f"the function did not answer well: {response}")
        return response

    async def warm_up(self, callers: int) -> None:
        """Makes as many containers as there are callers, and calls until all are warm."""
        await asyncio.gather(*(self(timeout_s=COLD_S) for _ in range(callers)))
        await latencies(self, callers, CALLS_PER_ROUND)


class Scheduler:
    """The scheduler's count of calls."""

    def __init__(self, running: RunningStoker, channel: grpc.aio.Channel) -> None:
        self._stub = cast("Any", channelz_pb2_grpc).ChannelzStub(channel)

    async def calls(self) -> int:
        """How many calls it has been sent, this one left out."""
        answer = await self._stub.GetServers(channelz_pb2.GetServersRequest())
        (server,) = answer.server
        return server.data.calls_started - 1


async def main() -> int:
    """Measures, prints, and returns the exit code."""
    image = build(IMAGES_DIR, find_sources(), Progress())
    async with AsyncExitStack() as stack:
        collector, address = stack.enter_context(running_collector())
        running = stack.enter_context(own_stoker(SETTINGS | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}"}))
        accelerator = accelerator_of(running)
        print(machine(accelerator), flush=True)
        _deploy(running)
        guest = stack.enter_context(raw_guest(image, accelerator))
        echo = await stack.enter_async_context(two_hops())
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.endpoint))
        scheduler_channel = grpc.aio.insecure_channel(f"127.0.0.1:{running.port_base + 1}")
        scheduler = Scheduler(running, await stack.enter_async_context(scheduler_channel))
        warm = Warm(running, channel)

        async def measure(callers: int) -> Figures:
            figures = Figures()
            await warm.warm_up(callers)
            wait_until_settled(running)
            await warm.warm_up(callers)
            give_up_s = time.monotonic() + MEASURING_S
            while len(figures.warm) < ROUNDS * CALLS_PER_ROUND and time.monotonic() < give_up_s:
                figures.hops.extend(await latencies(lambda: echo(bytes(FRAME_BYTES)), callers, CALLS_PER_ROUND))
                figures.guest.extend(round_trips(guest, callers, CALLS_PER_ROUND, FRAME_BYTES))
                figures.warm.extend(await latencies(warm, callers, CALLS_PER_ROUND))
            figures.show(callers)
            return figures

        begun_s = time.monotonic()
        one = await measure(1)
        calls_before, renewing_since_s = await scheduler.calls(), time.monotonic()
        await _show_processor_time(running, warm)
        asked = await scheduler.calls() - calls_before - 1
        renewals = int((time.monotonic() - renewing_since_s) / RENEWAL_S) + 1
        print(f"the scheduler was called {asked} times meanwhile, of which up to {renewals} renew the lease")
        await _show_parts(warm, collector)
        several = await measure(CALLERS)
        print(f"took {time.monotonic() - begun_s:.0f} s")
    bars = [
        Bar("p50 with one caller", one.ratio(50), 2.0),
        Bar(f"p99 with {CALLERS} callers", several.ratio(99), 3.0),
        Bar("scheduler calls beside renewals", max(0, asked - renewals), 0, unit=""),
    ]
    figures = f"warm p50 {percentile(one.warm, 50):.2f} ms over a floor of {one.floor_ms(50):.2f} ms"
    return conclude("warm_invoke", figures, bars)


def _deploy(running: RunningStoker) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "main.py").write_text(CODE)
        with running.client() as client:
            client.deploy("echo", directory, runtime="python3", handler="main.handler", memory_mib=64, tmp_mib=1)


async def _show_processor_time(running: RunningStoker, warm: Warm) -> None:
    vm = (await warm()).vm
    pids = {
        "this client": os.getpid(),
        "frontend": running.pid_of("frontend"),
        "host agent": running.pid_of("hostagent"),
        "virtual machine": pid_of_vm(running, vm),
    }
    before = {name: cpu_ms(pid) for name, pid in pids.items()}
    await latencies(warm, 1, CALLS_PER_ROUND)
    print("time on a processor for one invocation:")
    for name, pid in pids.items():
        print(f"  {name:36} {(cpu_ms(pid) - before[name]) / CALLS_PER_ROUND:.2f} ms")


async def _show_parts(warm: Warm, collector: Collector) -> None:
    parts: dict[str, list[float]] = {}
    for number in range(TRACED_CALLS):
        trace_id = f"{number + 1:032x}"
        begun_s = time.perf_counter()
        await warm(f"00-{trace_id}-{1:016x}-01")
        total_ms = (time.perf_counter() - begun_s) * 1000
        spans = collector.wait_for(trace_id, lambda spans: {span.name for span in spans} >= {*SPANS}, 20)
        for name, part_ms in _parts(total_ms, {span.name: span for span in spans}).items():
            parts.setdefault(name, []).append(part_ms)
    print("where the time of a traced invocation goes (medians; being traced takes time too):")
    for name, part_ms in parts.items():
        print(f"  {name:36} {percentile(part_ms, 50):.2f} ms")


SPANS = ("stoker.v1.InvocationService/Invoke", "invoke", "hostagent.invoke", "guest.handler")


def _parts(total_ms: float, spans: Mapping[str, Span]) -> dict[str, float]:
    frontend, invoke, host, runtime = ((spans[name].end_ns - spans[name].start_ns) / 1e6 for name in SPANS)
    return {
        "client, and the frontend's gRPC": total_ms - frontend,
        "frontend": frontend - invoke,
        "frontend to host agent and back": invoke - host,
        "host agent, port, guest agent": host - runtime,
        "runtime and handler": runtime,
    }


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
