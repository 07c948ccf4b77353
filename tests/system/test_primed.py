"""A function's first invocation finds a blank container, which becomes the function's own."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import stoker
from stoker.models import FunctionErrorKind, Start

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker, running_stoker

REFILL_S = 60
FIRST_S = 120
SOURCE = """
import os, socket

def size_mib(path):
    stat = os.statvfs(path)
    return stat.f_blocks * stat.f_frsize >> 20

def handler(event, context):
    if event and event.get("eat"):
        eaten = []
        while True:
            eaten.append(bytearray(4 << 20))
    return {"host": socket.gethostname(), "stream": context.log_stream, "tmp_mib": size_mib("/tmp")}
"""


SETTINGS = {
    "STOKER_HOSTAGENT_TEMPLATES_MIB": "0",
    "STOKER_SCHEDULER_WARMING_VMS": "0",
    "STOKER_SCHEDULER_WARMING_VMS_MOST": "0",
    # All functions of the test find room in one VM.
    "STOKER_SCHEDULER_VM_MEMORY_MIB": "768",
    # The first function waits for the boot.
    "STOKER_SCHEDULER_MAX_WAIT_S": "110",
}


@pytest.fixture(scope="module")
def alone() -> Iterator[RunningStoker]:
    """A Stoker with one VM, which is booted, so that its log tells of each blank container."""
    with running_stoker(SETTINGS) as running:
        yield running


@pytest.fixture
def client(alone: RunningStoker) -> Iterator[stoker.Client]:
    """A client of the tenant `dev` there."""
    with alone.client() as client:
        yield client


def blanks_made(running: RunningStoker) -> Counter[str]:
    """How many blank containers have been made of each runtime."""
    lines = (running.home / "logs" / "hostagent.log").read_text().splitlines()
    return Counter(json.loads(line)["runtime"] for line in lines if '"blank.made"' in line)


def wait_for_blanks(running: RunningStoker, python3: int) -> None:
    """Waits until so many have been made for Python, and one for Node.js."""
    deadline_s = time.monotonic() + REFILL_S
    while (made := blanks_made(running)) != {"python3": python3, "nodejs": 1}:
        assert time.monotonic() < deadline_s, f"made so far: {made}"
        time.sleep(0.1)


def deploy(client: stoker.Client, directory: Path, name: str, memory_mib: int, tmp_mib: int) -> str:
    """Deploys a function with these limits."""
    code = write_function(directory / name, SOURCE)
    client.deploy(name, code, runtime="python3", handler="main.handler", memory_mib=memory_mib, tmp_mib=tmp_mib)
    return name


def test_blank_containers_become_functions_and_are_replaced_and_survive_their_host_agent(
    alone: RunningStoker, client: stoker.Client, tmp_path: Path
) -> None:
    # The first function brings the VM.
    first = client.invoke(deploy(client, tmp_path, "first", 64, 1), timeout_s=FIRST_S)
    used = int(first.start is Start.PRIMED)

    wait_for_blanks(alone, 1 + used)
    small = client.invoke(deploy(client, tmp_path, "small", 72, 9), timeout_s=FIRST_S)
    assert (small.start, small.vm) == (Start.PRIMED, first.vm)
    assert small.function_error is None, small.function_error
    assert small.json() == {"host": small.container, "stream": f"small/1/{small.container}", "tmp_mib": 9}
    assert client.invoke("small", timeout_s=FIRST_S).start is Start.WARM

    wait_for_blanks(alone, 2 + used)
    large = client.invoke(deploy(client, tmp_path, "large", 160, 80), timeout_s=FIRST_S)
    assert (large.start, large.json()["tmp_mib"]) == (Start.PRIMED, 80)

    wait_for_blanks(alone, 3 + used)
    alone.kill("hostagent")
    alone.up()
    again = client.invoke("large", timeout_s=FIRST_S)
    assert (again.container, again.function_error) == (large.container, None)
    later = client.invoke(deploy(client, tmp_path, "later", 64, 1), timeout_s=FIRST_S)
    assert (later.start, later.vm) == (Start.PRIMED, first.vm)

    for name, memory_mib in (("small", 72), ("large", 160)):
        error = client.invoke(name, {"eat": True}, timeout_s=FIRST_S).function_error
        assert error is not None
        assert error.kind is FunctionErrorKind.OUT_OF_MEMORY
        assert f"{memory_mib} MiB" in error.message
