"""Code is on the host before it is called, and what a virtual machine gets is what was published."""

import time
from pathlib import Path

import stoker
from stoker.deliveries import DeliveryState
from stoker.errors import ResourceExhausted
from stoker.models import Start

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

FIRST_S = 120
BOOT_ATTEMPTS = 3
WITHIN_S = 60
SOURCE = "from data import ANSWER\n\ndef handler(event, context):\n    return ANSWER\n"


def write_answer(directory: Path, answer: int) -> Path:
    write_function(directory, SOURCE)
    return write_function(directory, f"ANSWER = {answer}\n", "data.py")


def first_answer(client: stoker.Client, function: str) -> object:
    """What a function answers first, however long its VM takes to boot on a busy machine."""
    for _ in range(BOOT_ATTEMPTS):
        try:
            return client.invoke(function, timeout_s=FIRST_S).json()
        except ResourceExhausted:
            continue
    raise AssertionError("no VM was booted")


def test_a_new_version_is_delivered_and_loaded_before_it_is_called(
    system: RunningStoker, client: stoker.Client, tmp_path: Path
) -> None:
    client.deploy("ahead", write_answer(tmp_path / "1", 1), runtime="python3", handler="main.handler")
    assert first_answer(client, "ahead") == 1

    told = system.run("deploy", "ahead", str(write_answer(tmp_path / "2", 2)), "--prewarm", "1")
    assert f"{system.host_id()}: delivered" in told.stderr
    give_up_s = time.monotonic() + WITHIN_S
    while not any(
        (each.function, each.version, each.state) == ("ahead", 2, "idle") for each in system.fleet().containers
    ):
        assert time.monotonic() < give_up_s
        time.sleep(0.1)

    # By number, so that the version before cannot answer meanwhile.
    result = client.invoke("ahead", qualifier="2")
    assert (result.json(), result.start) == (2, Start.WARM)


def test_code_that_changes_on_the_hosts_disk_is_made_anew_before_it_is_loaded(
    system: RunningStoker, client: stoker.Client, tmp_path: Path
) -> None:
    done = client.deploy("intact", write_answer(tmp_path / "1", 41), runtime="python3", handler="main.handler")
    *_, last = client.watch_delivery("intact", done.version.number, timeout_s=WITHIN_S)
    assert [each.state for each in last.hosts] == [DeliveryState.DELIVERED]
    (code,) = (system.home / "hostagent" / "code").glob(f"*/{done.artifact.sha256}")
    with (code / "data.py").open("r+") as file:
        file.write("ANSWER = 66\n")

    assert first_answer(client, "intact") == 41
    assert "code_cache.changed" in (system.home / "logs" / "hostagent.log").read_text()
