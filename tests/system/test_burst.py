"""A burst of callers finds a function cold, on one host."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import stoker
from stoker.models import InvokeResult

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

CALLERS = 20
ANSWERED_S = 120
TEMPLATE_S = 180
SOURCE = """
import time

def handler(event, context):
    time.sleep(0.5)  # so that no container can serve all of them one after the other
    return event["number"]
"""


def test_twenty_callers_of_a_cold_function_are_answered_and_no_vm_is_booted_for_them(
    system: RunningStoker, client: stoker.Client, tmp_path: Path
) -> None:
    wait_for_template(system)
    client.deploy("burst", write_function(tmp_path, SOURCE), runtime="python3", handler="main.handler", memory_mib=64)
    earlier = len(events(system, "vm.created"))

    def call(number: int) -> InvokeResult:
        return client.invoke("burst", {"number": number}, timeout_s=ANSWERED_S)

    with ThreadPoolExecutor(CALLERS) as callers:
        results = list(callers.map(call, range(CALLERS)))

    assert [result.json() for result in results] == list(range(CALLERS))
    made = events(system, "vm.created")[earlier:]
    assert [event for event in made if not event["is_clone"]] == []
    assert len({result.vm for result in results}) > 1, "the burst was to need more than one VM"


def wait_for_template(running: RunningStoker) -> None:
    """Waits until VMs can be cloned."""
    give_up_s = time.monotonic() + TEMPLATE_S
    while not events(running, "template.ready"):
        assert time.monotonic() < give_up_s, f"there was no template within {TEMPLATE_S} s"
        time.sleep(0.2)


def events(running: RunningStoker, name: str) -> Sequence[dict[str, Any]]:
    """What the host agent has logged by this name."""
    lines = (running.home / "logs" / "hostagent.log").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event.get("event") == name]
