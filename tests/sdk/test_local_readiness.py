"""Waiting for a real service, which answers or ends; and what is shown meanwhile."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from stoker.errors import Unavailable
from stoker.local.processes import Process, identify, send_signal, wait_for_end
from stoker.local.readiness import ServiceEnded, until_serving
from stoker.local.report import Report

from tests.system.running_stoker import free_port_base


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port_base()}"


def start(service: str, tmp_path: Path, environment: dict[str, str]) -> Process:
    with (tmp_path / "log").open("w") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", f"stoker_{service}"], env={**os.environ, **environment}, stdout=log, stderr=log
        )
    process = identify(popen.pid)
    assert process is not None
    # Nothing waits for it but what is tested here.
    popen.returncode = 0
    return process


async def test_a_service_that_answers_is_waited_for_no_longer(tmp_path: Path, address: str) -> None:
    process = start("scheduler", tmp_path, {"STOKER_SCHEDULER_LISTEN_ADDRESS": address})
    try:
        await until_serving("scheduler", process, address, 20)
    finally:
        send_signal(process, signal.SIGTERM)
    assert not wait_for_end([process], 20)


async def test_a_service_that_ends_is_noticed_at_once(tmp_path: Path, address: str) -> None:
    process = start("scheduler", tmp_path, {"STOKER_SCHEDULER_LISTEN_ADDRESS": "nowhere"})
    begun_s = time.monotonic()
    with pytest.raises(ServiceEnded, match="scheduler ended instead of answering"):
        await until_serving("scheduler", process, address, 60)
    assert time.monotonic() - begun_s < 30


async def test_a_service_that_does_not_answer_is_given_up(address: str) -> None:
    this = identify(os.getpid())
    assert this is not None
    with pytest.raises(Unavailable, match="scheduler is not ready after 0 s"):
        await until_serving("scheduler", this, address, 0.2)


def test_a_quick_step_is_one_plain_line_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with Report(Console(file=out)).step("codestore") as step:
        step.outcome = "started [pid 3]"
    assert out.getvalue() == f"✓ {'codestore':24} started [pid 3]\n"


def test_a_step_that_fails_leaves_no_line() -> None:
    out = io.StringIO()
    with pytest.raises(KeyError), Report(Console(file=out)).step("codestore"):
        raise KeyError
    assert out.getvalue() == ""
