"""Churn leaves nothing behind: functions are deployed, invoked, deployed anew, deleted; all falls idle; and so on.

It goes on for `STOKER_SOAK_MINUTES`, 3 where that is not set; `make soak` has 30.
"""

import os
import re
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import stoker
from stoker.models import FunctionErrorKind, Runtime

from tests.system.running_stoker import SERVICES, RunningStoker, running_stoker

MINUTES = float(os.environ.get("STOKER_SOAK_MINUTES", "3"))
WARM_UP_ROUNDS = 2
"""So often everything has to happen until caches are filled and libraries loaded."""
FUNCTIONS = 2
"""How many live at once. In a guest without KVM four that start at once take longer than their limits allow."""
QUIET_S = 120
SETTLED_S = 2.0
INVOKE_S = 120
LOG_LINES = 100
COUNT_SLACK = 3
"""How many descriptors or threads a service may have more than before. What leaks in every round is far more."""
MEMORY_SLACK = 1.1

SETTINGS = {
    "STOKER_SCHEDULER_CONTAINER_IDLE_S": "1",
    "STOKER_SCHEDULER_CONTAINER_IDLE_LEAST_S": "0.5",
    "STOKER_SCHEDULER_CONTAINER_IDLE_MOST_S": "1",
    "STOKER_SCHEDULER_VM_IDLE_S": "1",
    "STOKER_SCHEDULER_UPKEEP_INTERVAL_S": "0.5",
    # The pool is the same whenever all is quiet.
    "STOKER_SCHEDULER_WARMING_VMS": "1",
    "STOKER_SCHEDULER_WARMING_VMS_MOST": "1",
    "STOKER_SCHEDULER_MAX_WAIT_S": "110",
    "STOKER_FRONTEND_LEASE_IDLE_S": "0.5",
    "STOKER_FRONTEND_CAPACITY_WAIT_S": "110",
}

PYTHON = """
import os, time

def handler(event, context):
    print("asked", event)
    match event["do"]:
        case "answer":
            return {"edition": EDITION}
        case "fail":
            raise ValueError("as asked")
        case "exit":
            os._exit(3)
        case "overrun":
            time.sleep(60)
"""
NODEJS = "exports.handler = async (event) => { console.log('asked', event); return { edition: EDITION }; };\n"


@dataclass(frozen=True, slots=True)
class Left:
    """What there is of a Stoker at one moment; ids of VMs are left out."""

    domains: int
    mounts: int
    processes: Counter[str]
    files: Counter[str]
    descriptors: Mapping[str, int]
    threads: Mapping[str, int]


@pytest.fixture(scope="module")
def churned() -> Iterator[RunningStoker]:
    """A Stoker where nothing is kept for long."""
    with running_stoker(SETTINGS) as running:
        yield running
        for service in ("scheduler", "hostagent"):
            # pytest shows it where the test has failed.
            lines = (running.home / "logs" / f"{service}.log").read_text().splitlines()
            print(f"the end of the log of {service}:", *lines[-LOG_LINES:], sep="\n")


def test_churn_leaves_nothing_behind(churned: RunningStoker, tmp_path: Path) -> None:
    code = editions(tmp_path)
    give_up_s = time.monotonic() + MINUTES * 60
    rounds = 0
    memory: dict[str, list[int]] = {service: [] for service in SERVICES}
    before: Left | None = None
    while rounds <= WARM_UP_ROUNDS or time.monotonic() < give_up_s:
        churn(churned, code)
        wait_until_quiet(churned)
        rounds += 1
        if rounds == WARM_UP_ROUNDS:
            before = what_is_left(churned)
        if rounds > WARM_UP_ROUNDS:
            for service, sizes in memory.items():
                sizes.append(churned.resident_bytes(service))
    after = what_is_left(churned)
    print(f"{rounds} rounds; memory in bytes after each: {memory}")

    assert before is not None
    assert (after.domains, after.mounts) == (before.domains, before.mounts)
    assert after.processes == before.processes
    assert after.files == before.files
    assert grown(before.descriptors, after.descriptors) == {}
    assert grown(before.threads, after.threads) == {}
    assert {service: sizes for service, sizes in memory.items() if has_grown(sizes)} == {}


def churn(running: RunningStoker, code: Sequence[tuple[Path, Runtime]]) -> None:
    """Deploys functions, has them answer and fail in all ways, deploys them anew, and deletes them."""

    def live(number: int) -> None:
        name = f"churn-{number}"
        with running.client() as client:
            for directory, runtime in (code[number % 2], code[2 + number % 2]):
                client.deploy(name, directory, runtime=runtime, handler="main.handler", memory_mib=64, timeout_s=10)
                for _ in range(5):
                    result = client.invoke(name, {"do": "answer"}, timeout_s=INVOKE_S)
                    assert result.function_error is None, result
            if runtime is Runtime.PYTHON3:
                assert failure(client, name, "fail") is FunctionErrorKind.EXCEPTION
                assert failure(client, name, "exit") is FunctionErrorKind.EXIT
                assert failure(client, name, "overrun") is FunctionErrorKind.TIMEOUT
            client.delete_function(name)

    with ThreadPoolExecutor(FUNCTIONS) as threads:
        list(threads.map(live, range(FUNCTIONS)))


def failure(client: stoker.Client, name: str, how: str) -> FunctionErrorKind | None:
    """How an invocation fails that is asked to."""
    error = client.invoke(name, {"do": how}, timeout_s=INVOKE_S).function_error
    return error.kind if error else None


def editions(directory: Path) -> Sequence[tuple[Path, Runtime]]:
    """The code of two functions, twice."""
    made: list[tuple[Path, Runtime]] = []
    for edition in (1, 2):
        for runtime, file, source in ((Runtime.PYTHON3, "main.py", PYTHON), (Runtime.NODEJS, "main.js", NODEJS)):
            code = directory / f"{runtime}-{edition}"
            code.mkdir()
            (code / file).write_text(source.replace("EDITION", str(edition)))
            made.append((code, runtime))
    return made


def wait_until_quiet(running: RunningStoker) -> None:
    """Waits until there is nothing but a warming pool that is full, for a while."""
    give_up_s = time.monotonic() + QUIET_S
    since_s = time.monotonic()
    while time.monotonic() - since_s < SETTLED_S:
        fleet = running.fleet()
        if fleet.containers or [vm.state for vm in fleet.vms] != ["warming"]:
            assert time.monotonic() < give_up_s, f"within {QUIET_S} s it did not fall quiet: {fleet}"
            since_s = time.monotonic()
        time.sleep(0.1)


def what_is_left(running: RunningStoker) -> Left:
    """Looks at all that a Stoker could leave behind."""
    host = running.fleet().hosts[0].id
    virsh = subprocess.run(
        ["virsh", "-c", "qemu:///system", "list", "--all", "--name"], capture_output=True, text=True, check=True
    )
    mounts = Path("/proc/self/mountinfo").read_text()
    pids = {service: running.pid_of(service) for service in SERVICES}
    return Left(
        domains=virsh.stdout.count(f"stoker-{host}-"),
        mounts=mounts.count(f" {running.home}/"),
        processes=Counter(programs_of(str(running.home))),
        files=Counter(without_ids(str(path.relative_to(running.home))) for path in files_below(running.home)),
        descriptors={service: len(list(Path(f"/proc/{pid}/fd").iterdir())) for service, pid in pids.items()},
        threads={service: len(list(Path(f"/proc/{pid}/task").iterdir())) for service, pid in pids.items()},
    )


def programs_of(home: str) -> Iterator[str]:
    """The programs that run for a home directory: they have it in their arguments or their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
            if home.encode() in arguments + (process / "environ").read_bytes():
                yield Path(arguments.split(b"\0")[0].decode()).name
        except OSError:
            continue  # it has just ended


def files_below(home: Path) -> Iterator[Path]:
    """All files, sockets and directories, but for those that a database makes and removes as it likes."""
    for directory, directories, files in os.walk(home):
        for name in (*directories, *files):
            if not name.endswith(("-wal", "-shm", "-journal")):
                yield Path(directory, name)


def without_ids(path: str) -> str:
    """A path, the same for all VMs."""
    return re.sub(r"vm-[0-9a-f]{12}", "vm", path)


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Where there is more than before."""
    return {
        service: (before[service], after[service])
        for service in before
        if after[service] > before[service] + COUNT_SLACK
    }


def has_grown(sizes: Sequence[int]) -> bool:
    """Whether memory is more in the end than in the beginning, by the medians of the thirds."""
    third = max(1, len(sizes) // 3)
    return statistics.median(sizes[-third:]) > statistics.median(sizes[:third]) * MEMORY_SLACK
