"""What it is worth that code is on a host before anybody calls it, and what it costs to bring it there.

1. The first request of a new version with 50 MB of code, on a host with a VM of the tenant and blank containers that
   never had any of it. Two Stokers run side by side, one of which pushes nothing; in turns a version is deployed to
   each and invoked once. To the one that pushes it is deployed in two ways: with the code alone ahead, and with a
   container loaded too (`--prewarm 1`).
2. Of 50 MB of code one file is changed: how many bytes cross to a host that has the version before.
3. Ten host agents, whose VMs alone are of memory, get 200 MB: how many bytes the codestore sends, as a proxy counts.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import stoker
import structlog
from measuring import (
    IMAGES_DIR,
    Bar,
    RunningStoker,
    accelerator_of,
    conclude,
    describe,
    machine,
    own_stoker,
    percentile,
)
from stoker.errors import ResourceExhausted
from stoker.models import Container, InvokeResult, Start
from stoker_guest_image.build import build
from stoker_guest_image.progress import Progress
from stoker_guest_image.sources import find_sources

from tests.hostagent.many_hosts import many_hosts, tar_of

MB = 1_000_000
CODE_BYTES = 50 * MB
FILES = 500
SPREAD_BYTES = 200 * MB
HOSTS = 10
STARTS = 5
FIRST_S = 120.0
SETTLE_S = 60.0
BOOT_ATTEMPTS = 3
SETTINGS = {
    "STOKER_HOSTAGENT_TEMPLATES_MIB": "0",
    "STOKER_SCHEDULER_WARMING_VMS": "0",
    "STOKER_SCHEDULER_WARMING_VMS_MOST": "0",
    # All functions find room in one VM.
    "STOKER_SCHEDULER_VM_MEMORY_MIB": "1024",
    "STOKER_SCHEDULER_MAX_WAIT_S": "110",
}


@dataclass(slots=True)
class Side:
    """One of the two Stokers."""

    running: RunningStoker
    client: stoker.Client
    deployed: int = 0
    primed: int = 0

    def first_ms(self, directory: Path, *, prewarm: int = 0) -> float:
        """Deploys code that this host never had, and invokes it once; returns how long that took in milliseconds."""
        self.deployed += 1
        name = f"pushed-{self.deployed}"
        _write_code(directory, f"{self.running.port_base} {self.deployed}")
        done = self.client.deploy(
            name, directory, runtime="python3", handler="main.handler", memory_mib=64, tmp_mib=1, prewarm=prewarm
        )
        for _ in self.client.watch_delivery(name, done.version.number, timeout_s=SETTLE_S):
            pass
        if prewarm:
            self.primed += 1
            _wait_until(lambda: any(each.state == "idle" for each in self._containers(name)), "a container is loaded")
        begun_s = time.perf_counter()
        result = self._invoke(name)
        took_ms = (time.perf_counter() - begun_s) * 1000
        self.primed += result.start is Start.PRIMED
        self.client.delete_function(name)
        return took_ms

    def wait_for_blanks(self) -> None:
        """Waits until there is a blank container again."""
        log = self.running.home / "logs" / "hostagent.log"
        _wait_until(lambda: log.read_text().count("blank.made") >= 2 + self.primed, "there are blank containers")

    def _invoke(self, name: str) -> InvokeResult:
        for _ in range(BOOT_ATTEMPTS):
            try:
                return self.client.invoke(name, timeout_s=FIRST_S)
            except ResourceExhausted:
                # On a busy machine the first VM may not be up in time.
                if self.deployed > 1:
                    raise
        raise SystemExit("no VM was booted")

    def _containers(self, function: str) -> list[Container]:
        return [each for each in self.running.fleet().containers if each.function == function]


def main() -> int:
    """Measures, prints, and returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=STARTS, help=f"how many first requests of each kind ({STARTS})")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    change_bytes, copies = asyncio.run(_transfers())
    build(IMAGES_DIR, find_sources(), Progress())
    on_demand, pushed, prewarmed = list[float](), list[float](), list[float]()
    with ExitStack() as stack:
        without = _side(stack, push_ahead=False)
        with_push = _side(stack, push_ahead=True)
        print(machine(accelerator_of(without.running)), flush=True)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for side in (without, with_push):
            # The first finds no VM, and waits for one to be booted.
            side.first_ms(directory)
        for _ in range(arguments.starts):
            for side in (without, with_push):
                side.wait_for_blanks()
            on_demand.append(without.first_ms(directory))
            pushed.append(with_push.first_ms(directory))
            with_push.wait_for_blanks()
            prewarmed.append(with_push.first_ms(directory, prewarm=1))
    _show("fetched on demand", on_demand)
    _show("code pushed", pushed)
    _show("code pushed, container loaded", prewarmed)
    on_demand_ms, pushed_ms, prewarmed_ms = (percentile(each, 50) for each in (on_demand, pushed, prewarmed))
    figures = (
        f"first request p50 on demand {on_demand_ms:.0f} ms, pushed {pushed_ms:.0f} ms, prewarmed {prewarmed_ms:.0f} ms"
    )
    bars = [
        Bar("pushed is faster", on_demand_ms / pushed_ms, 5, is_at_least=True),
        Bar("prewarmed is faster", on_demand_ms / prewarmed_ms, 5, is_at_least=True),
        Bar("a changed file of 50 MB", change_bytes / MB, 2, " MB"),
        Bar(f"sent by the codestore for {HOSTS} hosts", copies, 3, " copies"),
    ]
    return conclude("push_ahead", figures, bars)


async def _transfers() -> tuple[int, float]:
    """How many bytes cross for a changed file, and how many copies the codestore sends for ten hosts."""
    with tempfile.TemporaryDirectory() as directory:
        async with many_hosts(Path(directory), 1) as one:
            await one.delivered(await one.publish(await one.upload(tar_of(CODE_BYTES))))
            changed = await one.upload(tar_of(CODE_BYTES, changed=50))
            before = one.counter.sent_bytes
            await one.delivered(await one.publish(changed))
            change_bytes = one.counter.sent_bytes - before
    print(f"  a changed file of {CODE_BYTES / MB:.0f} MB: {change_bytes / MB:.2f} MB cross", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        async with many_hosts(Path(directory), HOSTS) as many:
            sha256 = await many.upload(tar_of(SPREAD_BYTES))
            before, begun_s = many.counter.sent_bytes, time.perf_counter()
            await many.delivered(await many.publish(sha256))
            took_s = time.perf_counter() - begun_s
            copies = (many.counter.sent_bytes - before) / SPREAD_BYTES
    print(f"  {SPREAD_BYTES / MB:.0f} MB to {HOSTS} hosts: {took_s:.1f} s, {copies:.2f} copies sent by the codestore")
    return change_bytes, copies


def _side(stack: ExitStack, *, push_ahead: bool) -> Side:
    running = stack.enter_context(own_stoker({**SETTINGS, "STOKER_CODESTORE_PUSH_AHEAD": str(push_ahead).lower()}))
    return Side(running, stack.enter_context(running.client()))


def _write_code(directory: Path, seed: str) -> None:
    """Writes 50 MB of code that no other call has written, and that does not shrink."""
    chance = random.Random(seed)  # noqa: S311 - bytes that do not shrink
    (directory / "data").mkdir(exist_ok=True)
    for number in range(FILES):
        (directory / "data" / f"{number:03}").write_bytes(chance.randbytes(CODE_BYTES // FILES))
    (directory / "main.py").write_text(f"def handler(event, context):\n    return {seed!r}\n")


def _wait_until(is_so: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + SETTLE_S
    while not is_so():
        if time.monotonic() > give_up_s:
            raise SystemExit(f"it took longer than {SETTLE_S:g} s until {what}")
        time.sleep(0.1)


def _show(what: str, took_ms: Sequence[float]) -> None:
    print(f"  {what:32} {describe(took_ms)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
