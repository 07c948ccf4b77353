"""The command line as a process: pipes, signals, start-up."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from stoker_protos.v1 import functions_pb2

from tests.sdk.peer import API_KEY, Peer

CLI = Path(sys.executable).with_name("stoker")


@pytest.fixture
def environment(peer: Peer, tmp_path: Path) -> Mapping[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "STOKER_ENDPOINT": peer.address,
        "STOKER_API_KEY": API_KEY,
        "XDG_CONFIG_HOME": str(tmp_path),
        "STOKER_CONFIG": str(tmp_path / "none.toml"),
    }


def test_help_comes_at_once() -> None:
    # Processor time, which is the whole of it on a machine that nobody else uses.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([CLI, "--help"], check=True, capture_output=True, timeout=10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


def test_a_reader_that_leaves_a_pipe_ends_the_command_quietly(environment: Mapping[str, str], peer: Peer) -> None:
    peer.functions["functions/hello"] = _function()
    peer.lines = ["x" * 100] * 10_000
    read, write = os.pipe()
    with subprocess.Popen(
        [CLI, "logs", "hello", "--limit", "10000"], env=environment, stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        os.read(read, 10)
        os.close(read)
        assert process.wait(10) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ctrl_c_ends_with_130_and_no_traceback(environment: Mapping[str, str], peer: Peer) -> None:
    peer.functions["functions/hello"] = _function()
    # A shell's background jobs, and what they start, begin with the signal ignored.
    command = ["env", "--default-signal=INT", CLI, "logs", "-f", "hello"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert peer.is_following.wait(10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_nothing_but_plain_text_goes_into_a_pipe(environment: Mapping[str, str], peer: Peer) -> None:
    peer.functions["functions/hello"] = _function()
    done = subprocess.run([CLI, "list"], env=environment, capture_output=True, text=True, timeout=10, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[1].startswith("hello")


def test_completion_is_offered(environment: Mapping[str, str]) -> None:
    variables = {**environment, "_STOKER_COMPLETE": "complete_bash", "COMP_WORDS": "stoker de", "COMP_CWORD": "1"}
    done = subprocess.run([CLI], env=variables, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout.split() == ["deploy", "delete"]


def _function() -> functions_pb2.Function:
    return functions_pb2.Function(name="functions/hello", latest_version=1)
