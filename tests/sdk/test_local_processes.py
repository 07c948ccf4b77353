"""Processes that outlive the command that started them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stoker.local.launch import Launch
from stoker.local.processes import (
    Process,
    identify,
    is_running,
    recall,
    remember,
    send_signal,
    wait_for_end,
)


def launch(log_file: Path, *command: str, environment: dict[str, str] | None = None) -> Process | None:
    """Starts a command; None where it has ended already."""
    told = Launch(command, environment or {}, str(log_file)).to_json()
    done = subprocess.run(
        [sys.executable, "-m", "stoker.local.launch"],
        input=told,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return identify(int(done.stdout))


def run_to_its_end(log_file: Path, *command: str, environment: dict[str, str] | None = None) -> str:
    """What a launched command logs."""
    process = launch(log_file, *command, environment=environment)
    assert process is None or not wait_for_end([process], 10)
    return log_file.read_text()


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = launch(tmp_path / "log", "sleep", "60")
    assert process is not None
    yield process
    send_signal(process, signal.SIGKILL)


def test_a_launched_process_is_on_its_own(sleeper: Process) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid
    assert is_running(sleeper)


def test_a_launched_process_has_its_environment_and_its_log(tmp_path: Path) -> None:
    command = ("sh", "-c", "echo $GREETING; echo bad >&2")
    assert run_to_its_end(tmp_path / "log", *command, environment={"GREETING": "hello"}) == "hello\nbad\n"


def test_a_program_that_is_not_there_says_so_in_its_log(tmp_path: Path) -> None:
    assert "cannot start no-such-program" in run_to_its_end(tmp_path / "log", "no-such-program")


def test_a_process_that_ends_is_noticed(sleeper: Process) -> None:
    assert wait_for_end([sleeper], 0.05) == [sleeper]
    send_signal(sleeper, signal.SIGTERM)
    assert wait_for_end([sleeper], 10) == []
    assert not is_running(sleeper)


def test_another_process_with_the_same_pid_is_not_taken_for_it(sleeper: Process, tmp_path: Path) -> None:
    file = tmp_path / "sleeper.json"
    remember(file, sleeper)
    assert recall(file) == sleeper
    earlier = Process(sleeper.pid, sleeper.start_ticks - 1, sleeper.boot_id)
    remember(file, earlier)
    assert recall(file) is None
    send_signal(earlier, signal.SIGKILL)
    assert is_running(sleeper)


@pytest.mark.parametrize("text", ["", "{}", "12", json.dumps({"pid": 1})])
def test_a_file_that_names_no_process_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert recall(file) is None
