"""What callers notice of deploys.

Four callers invoke a function again and again, each after a short pause, while its versions 2 to 10 are published one
after the other. The load on the first version alone tells the steady latency; deploys should not make it worse. One
container runs the invocations of all four at once (`concurrency`), so that each deploy loads one, in the same VM.

A request counts as slowed by a deploy where it takes more than twice the steady 99th percentile. Some requests do so
without any deploy, where the machine has other things to do: so many as there were in an equal number of steady ones,
measured just before by the same callers at the same pace, are taken off. All slow ones are listed.

Makes a picture, latency over time with the versions in colours, in `.build/publish_under_load.png`.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import stoker.aio
from matplotlib.figure import Figure
from measuring import (
    IMAGES_DIR,
    ROOT,
    Bar,
    RunningStoker,
    accelerator_of,
    conclude,
    describe,
    machine,
    own_stoker,
    percentile,
    wait_until_settled,
)
from stoker.errors import StokerError
from stoker_guest_image.build import build
from stoker_guest_image.progress import Progress
from stoker_guest_image.sources import find_sources

CALLERS = 4
PAUSE_S = 0.05
"""How long each caller pauses between its requests, so that the machine is loaded and not flooded."""
STEADY_S = 45.0
VERSIONS = 10
EVERY_S = 5.0
"""How often a version is published, in seconds."""
AFTER_S = 8.0
"""For how long the last version is watched, in seconds."""
TAKES_OVER_S = 5.0
PICTURE = ROOT / ".build" / "publish_under_load.png"

SETTINGS = {
    # The first call may find no VM yet, on a machine that emulates and has other things to do.
    "STOKER_FRONTEND_CAPACITY_WAIT_S": "170",
    # No other VM is made meanwhile.
    "STOKER_SCHEDULER_WARMING_VMS": "0",
    "STOKER_SCHEDULER_WARMING_VMS_MOST": "0",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as its caller saw it. Times are seconds since the begin."""

    begun_s: float
    took_ms: float
    version: int
    """What answered; 0 where it failed."""
    failure: str = ""

    @property
    def ended_s(self) -> float:
        """When it was answered."""
        return self.begun_s + self.took_ms / 1000


@dataclass(slots=True)
class Run:
    """What the callers saw, and when versions were published."""

    begun_s: float = field(default_factory=time.monotonic)
    requests: list[Request] = field(default_factory=list[Request])
    published_s: dict[int, float] = field(default_factory=dict[int, float])
    is_over: bool = False

    def now_s(self) -> float:
        """The time since the begin."""
        return time.monotonic() - self.begun_s

    def between(self, from_s: float, to_s: float) -> list[Request]:
        """The requests that were begun in a stretch of time."""
        return [request for request in self.requests if from_s <= request.begun_s < to_s]


async def main() -> int:
    """Measures, draws, prints, and returns the exit code."""
    build(IMAGES_DIR, find_sources(), Progress())
    with own_stoker(SETTINGS) as running:
        print(machine(accelerator_of(running)), flush=True)
        run, steady_s = await measure(running)
    return judge(run, steady_s)


async def measure(running: RunningStoker) -> tuple[Run, float]:
    """Calls and publishes; returns what was seen, and until when there was no deploy."""
    key = running.configuration()["api_key"]
    async with stoker.aio.Client(running.endpoint, api_key=key) as client:
        await publish(client, 1)
        await asyncio.gather(*(client.invoke("steady", timeout_s=180) for _ in range(CALLERS)))
        async with called(client, Run()):
            await asyncio.to_thread(wait_until_settled, running)
        run = Run()
        async with called(client, run):
            await asyncio.sleep(STEADY_S)
            steady_s = run.now_s()
            for version in range(2, VERSIONS + 1):
                await publish(client, version)
                run.published_s[version] = run.now_s()
                await asyncio.sleep(EVERY_S if version < VERSIONS else AFTER_S)
    return run, steady_s


@asynccontextmanager
async def called(client: stoker.aio.Client, run: Run) -> AsyncGenerator[None]:
    """Has callers call while it is entered; each ends with its last answer."""
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(keep_calling(client, run))
        try:
            yield
        finally:
            run.is_over = True


async def keep_calling(client: stoker.aio.Client, run: Run) -> None:
    """Is one caller, until it is over."""
    while not run.is_over:
        begun_s = run.now_s()
        version, failure = 0, ""
        try:
            result = await client.invoke("steady", timeout_s=60)
            version = result.raise_for_error().json()
            if version != result.executed_version:
                failure = f"version {result.executed_version} answered as {version}"
        except StokerError as error:
            failure = str(error)
        took_ms = (run.now_s() - begun_s) * 1000
        run.requests.append(Request(begun_s, took_ms, version, failure))
        await asyncio.sleep(PAUSE_S)


async def publish(client: stoker.aio.Client, number: int) -> None:
    """Publishes a version and points `live` to it."""
    with tempfile.TemporaryDirectory() as directory:
        await asyncio.to_thread(write_code, Path(directory), number)
        done = await client.deploy(
            "steady",
            directory,
            runtime="python3",
            handler="main.handler",
            memory_mib=64,
            tmp_mib=1,
            concurrency=CALLERS,
        )
    if done.version.number != number:
        raise SystemExit(f"published version {done.version.number} in the place of {number}")


def write_code(directory: Path, number: int) -> None:
    """Writes a function that answers with its version's number."""
    (directory / "main.py").write_text(f"async def handler(event, context):\n    return {number}\n")


def judge(run: Run, steady_s: float) -> int:
    """Draws and prints what was measured; returns the exit code."""
    steady, deploying = run.between(0, steady_s), run.between(steady_s, run.now_s())
    steady_ms = [request.took_ms for request in steady]
    limit_ms = 2 * percentile(steady_ms, 99)
    draw(run, steady_s, limit_ms)
    for name, requests in (("steady", steady), ("deploying", deploying)):
        print(f"{name:10} {len(requests)} requests, {describe([request.took_ms for request in requests])}")
    slow = [request for request in deploying if request.took_ms > limit_ms]
    by_chance = sum(took_ms > limit_ms for took_ms in steady_ms) * len(deploying) / len(steady)
    for request in slow:
        print(f"slow: {request.took_ms:.0f} ms at {request.begun_s:.2f} s, by version {request.version}")
    failed = [request for request in run.requests if request.failure]
    for request in failed:
        print(f"failed: at {request.begun_s:.2f} s: {request.failure}")
    took_over = {version: taken_over_s(run, version) for version in run.published_s}
    told = ", ".join(f"v{version} {seconds:.2f}" for version, seconds in took_over.items())
    print(f"seconds from publishing a version to its answering all: {told}")
    print(f"picture: {PICTURE}")
    bars = [
        Bar("failed requests", len(failed), 0, unit=""),
        Bar(f"requests over {limit_ms:.0f} ms beyond chance", max(0.0, len(slow) - by_chance), 0, unit=""),
        Bar(f"v{VERSIONS} answers all after", took_over[VERSIONS], TAKES_OVER_S, unit=" s"),
    ]
    deploying_ms = [request.took_ms for request in deploying]
    figures = (
        f"{len(deploying)} requests over {len(took_over)} deploys, p99 {percentile(steady_ms, 99):.1f} ms steady and "
        f"{percentile(deploying_ms, 99):.1f} ms with deploys, the longest {max(deploying_ms):.1f} ms"
    )
    return conclude("publish_under_load", figures, bars)


def taken_over_s(run: Run, version: int) -> float:
    """How long after its publishing an older version answered for the last time, in seconds; infinite if to the end."""
    published_s = run.published_s[version]
    until_s = run.published_s.get(version + 1, run.now_s())
    since = run.between(published_s, until_s)
    older_s = max((request.ended_s for request in since if request.version < version), default=published_s)
    has_taken_over = any(request.begun_s >= older_s for request in since if request.version == version)
    return older_s - published_s if has_taken_over else inf


def draw(run: Run, steady_s: float, limit_ms: float) -> None:
    """Draws latency over time, the versions in colours."""
    # Untyped, as most of matplotlib's own types are unknown.
    figure: Any = Figure((14, 5), layout="constrained")
    axes: Any = figure.subplots()
    for version in range(1, VERSIONS + 1):
        seen = [request for request in run.requests if request.version == version]
        at_s, took_ms = [request.begun_s for request in seen], [request.took_ms for request in seen]
        axes.scatter(at_s, took_ms, s=6, color=f"C{version - 1}", label=f"v{version}")
    for version, published_s in run.published_s.items():
        axes.axvline(published_s, color=f"C{version - 1}", linewidth=0.8)
    axes.axhline(limit_ms, color="black", linestyle="--", linewidth=0.8, label="2 x steady p99")
    axes.axvspan(0, steady_s, color="0.95", zorder=0)
    axes.set(xlabel="seconds", ylabel="latency in ms", yscale="log", title="Requests while versions are published")
    axes.legend(loc="upper left", ncols=6, fontsize="small")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
