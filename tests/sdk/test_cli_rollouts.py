"""`stoker rollout`, `rollback` and `history`, and the client's calls that they make."""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stoker
import stoker.aio
from rich.console import Console
from stoker.cli import rollouts
from stoker.cli.durations import parse_duration, shown
from stoker.cli.failures import UsageError
from stoker.cli.rollout_drawing import drawn, standing
from stoker.cli.rollouts import parse_steps
from stoker.rollouts import RolloutState

from tests.sdk.peer import Peer

Run = Callable[..., Any]
START = ("rollout", "hello", "--to", "2", "--steps", "10,50%,100", "--every", "5m")


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "LOOK_S", 0.0)


def test_a_rollout_begins_with_the_name_of_its_function(run: Run, peer: Peer) -> None:
    done = run(*START, "--alias", "next", "--min-calls", "20")
    assert done.exit_code == 0, done.stderr
    [rollout] = peer.rollouts
    assert (rollout.alias, rollout.to_version, list(rollout.steps)) == ("next", 2, [10, 50, 100])
    assert (rollout.every.seconds, rollout.min_calls) == (300, 20)
    assert "hello:next  1 -> 2  running" in done.stdout
    assert "4 (4.0%)" in done.stdout
    assert "next: stoker rollout status hello --alias next --watch" in done.stderr


def test_a_function_named_as_a_command_can_be_rolled_out_too(run: Run, peer: Peer) -> None:
    assert run("rollout", "start", "status", "--to", "2").exit_code == 0
    assert peer.rollouts[0].name.startswith("functions/status/")
    assert list(peer.rollouts[0].steps) == [1, 10, 50, 100]


def test_a_rollout_is_held_goes_on_and_is_ended(run: Run) -> None:
    run(*START)
    assert "paused by somebody" in run("rollout", "pause", "hello").stdout
    assert "running" in run("rollout", "resume", "hello").stdout
    done = run("rollout", "abort", "hello", "--reason", "wrong one", "--output", "json")
    assert (json.loads(done.stdout)["state"], json.loads(done.stdout)["reason"]) == ("aborted", "wrong one")
    assert "wrong one" in run("rollout", "status", "hello").stdout
    done = run("rollout", "abort", "hello")
    assert (done.exit_code, "`stoker rollout NAME --to VERSION` begins another" in done.stderr) == (3, True)


def test_a_watched_rollout_is_told_step_by_step_until_it_is_done(run: Run) -> None:
    run(*START)
    done = run("rollout", "status", "hello", "--watch")
    assert done.exit_code == 0
    assert [line.split("  ")[2] for line in done.stdout.splitlines()] == ["running", "running", "done"]


def test_a_watched_rollout_that_goes_back_ends_with_1(run: Run, peer: Peer) -> None:
    peer.is_new_version_bad = True
    done = run(*START, "--watch")
    assert done.exit_code == 1
    assert "rolled back  it fails more often" in done.stdout.splitlines()[-1]


def test_a_watched_rollout_as_json_is_its_end_alone_on_stdout(run: Run) -> None:
    done = run(*START, "--watch", "--output", "json")
    assert json.loads(done.stdout)["state"] == "done"
    assert len(done.stderr.splitlines()) == 3


def test_where_there_was_no_rollout_it_says_how_to_begin_one(run: Run) -> None:
    done = run("rollout", "status", "hello")
    assert done.exit_code == 2
    assert "`stoker rollout hello --to VERSION` begins one" in done.stderr


def test_rolling_back_is_one_command_and_stands_in_the_history(run: Run) -> None:
    assert run("rollback", "hello").stdout == "hello:live is now 1\n"
    assert run("rollback", "hello", "7", "--reason", "too slow").stdout == "hello:live is now 7\n"
    rows = run("history", "hello").stdout.splitlines()
    assert [row.split()[2:] for row in rows[1:]] == [
        ["7", "2", "0123456789abcdef", "too", "slow"],
        ["1", "2", "0123456789abcdef"],
    ]
    assert len(json.loads(run("history", "hello", "-n", "1", "-o", "json").stdout)) == 1


def test_an_alias_without_history_says_so(run: Run) -> None:
    assert "hello:next has no history" in run("history", "hello", "--alias", "next").stderr


@pytest.mark.parametrize("text", ["", "10", "50,10,100", "0,100", "10,,100", "a,100", "10,100,100", "101"])
def test_steps_that_are_none_are_refused_before_anything_is_sent(run: Run, peer: Peer, text: str) -> None:
    done = run("rollout", "hello", "--to", "2", "--steps", text)
    assert (done.exit_code, peer.calls["StartRollout"]) == (2, 0)
    assert "--steps" in done.stderr


def test_durations_are_read_and_shown() -> None:
    assert [parse_duration(text, "--every") for text in ("90", "60s", "5m", "1.5h", "1d")] == [90, 60, 300, 5400, 86400]
    assert [shown(seconds) for seconds in (90, 60, 3600, 86400)] == ["90s", "1m", "1h", "1d"]
    with pytest.raises(UsageError):
        parse_duration("soon", "--every")
    assert parse_steps("1, 10%,100") == (1, 10, 100)


def test_the_picture_shows_shares_steps_and_what_is_known(client: stoker.Client) -> None:
    rollout = client.start_rollout("hello", 2, steps=(25, 100), every_s=60)
    begun = rollout.create_time
    console = Console(width=100, record=True, file=None)
    with console.capture() as captured:
        console.print(drawn(rollout, begun + timedelta(seconds=20)))
    picture = captured.get()
    assert "25% > 100%" in picture
    assert "█" * 8 + "░" * 22 in picture
    assert "errors p 0.25" in picture
    assert "step 1 of 2, 25 %; the next in 40s" in picture
    done = replace(rollout, state=RolloutState.DONE, weight=100, step=1, step_time=None, end_time=begun)
    assert standing(done, datetime.now(UTC)) == "version 2 gets everything"


def test_a_session_key_goes_along(client: stoker.Client, run: Run, peer: Peer) -> None:
    client.create_function("hello")
    assert run("invoke", "hello", "--session-key", "s-1").exit_code == 0
    assert peer.session_keys == ["s-1"]


def test_both_clients_roll_out_alike() -> None:
    for name in ("start_rollout", "pause_rollout", "resume_rollout", "abort_rollout", "get_rollout", "roll_back"):
        blocking, asynchronous = (getattr(each, name) for each in (stoker.Client, stoker.aio.Client))
        assert inspect.signature(blocking) == inspect.signature(asynchronous)
