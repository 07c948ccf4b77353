"""Versions are brought out in steps, and back by themselves, while they are called."""

import time
from collections.abc import Callable
from pathlib import Path

import stoker
from stoker.models import InvokeResult
from stoker.rollouts import Rollout, RolloutState

from tests.system.conftest import write_function

WITHIN_S = 180.0


def deploy(client: stoker.Client, directory: Path, answer: str, alias: str | None) -> int:
    code = write_function(directory, f"def handler(event, context):\n    return {answer}\n")
    return client.deploy("rolled", code, runtime="python3", handler="main.handler", alias=alias).version.number


def invoke(client: stoker.Client) -> InvokeResult:
    return client.invoke("rolled", timeout_s=120)


def call_until(client: stoker.Client, is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < give_up_s
        invoke(client)


def rolled_out(client: stoker.Client, version: int, every_s: float) -> Rollout:
    """The end of a rollout during which the function is called."""
    rollout = client.start_rollout("rolled", version, steps=(50, 100), every_s=every_s)
    call_until(client, lambda: not client.get_rollout("rolled", rollout.id).is_under_way)
    return client.get_rollout("rolled", rollout.id)


def test_a_bad_version_goes_back_by_itself_and_a_good_one_gets_everything(
    client: stoker.Client, tmp_path: Path
) -> None:
    assert deploy(client, tmp_path / "first", "'first'", "live") == 1
    assert invoke(client).json() == "first"

    assert deploy(client, tmp_path / "bad", "1 / 0", None) == 2
    rollout = rolled_out(client, 2, every_s=600)
    assert (rollout.state, rollout.new.errors) == (RolloutState.ROLLED_BACK, rollout.new.calls)
    assert dict(client.get_alias("rolled", "live").routes) == {1: 100}

    assert deploy(client, tmp_path / "good", "'good'", None) == 3
    assert rolled_out(client, 3, every_s=2).state is RolloutState.DONE
    call_until(client, lambda: invoke(client).json() == "good")

    client.roll_back("rolled", reason="the first was better")
    call_until(client, lambda: invoke(client).json() == "first")
    last, *_ = client.list_alias_changes("rolled")
    assert (dict(last.before), dict(last.after), last.reason) == ({3: 100}, {1: 100}, "the first was better")
    assert last.actor
