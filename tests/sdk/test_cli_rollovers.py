"""`stoker status NAME` and `stoker rollover`: what answers now, what failed, and what is set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from stoker.rollovers import RolloverPolicy
from stoker_protos.v1 import aliases_pb2, functions_pb2, invocations_pb2, rollovers_pb2

from tests.sdk.peer import Peer

Run = Callable[..., Any]
LIVE = "functions/hello/aliases/live"


@pytest.fixture
def hello(run: Run, code: Path) -> str:
    """A function with one version."""
    assert run("deploy", "hello", str(code)).exit_code == 0
    return "hello"


def stand(peer: Peer, *, answering: int, **more: Any) -> None:
    """Makes `live` point to version 2, for which another answers."""
    target = rollovers_pb2.TargetVersion(version=2, weight=100, answering_version=answering)
    peer.rollovers[LIVE] = rollovers_pb2.Rollover(name=LIVE, targets=[target], is_usage_known=True, **more)


def test_status_of_a_function_shows_each_alias_and_what_answers_for_it(run: Run, hello: str) -> None:
    done = run("status", hello)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].split() == ["hello:live", "1", "100%", "1", "version", "1"]


def test_status_shows_that_the_version_before_answers_and_for_how_long(run: Run, hello: str, peer: Peer) -> None:
    previous = rollovers_pb2.PreviousVersion(version=1, loaded=2, remaining_s=41.7)
    stand(peer, answering=1, previous=[previous])
    done = run("status", f"{hello}:live")
    assert "version 1, until 2 is loaded" in done.stdout
    assert "hello:live: version 1 may answer for another 42 s" in done.stdout


def test_status_shows_what_failed_to_load_and_when_it_is_tried_again(run: Run, hello: str, peer: Peer) -> None:
    failure = aliases_pb2.LoadFailure(
        version=2,
        error=invocations_pb2.FunctionError(type="SyntaxError", message="'(' was never closed"),
        failures=3,
        time=Timestamp(seconds=1_700_000_000),
        retry_time=Timestamp(seconds=1_700_000_004),
    )
    stand(peer, answering=1, load_failure=failure)
    done = run("status", hello)
    assert "hello:live: version 2 failed to load 3 times in a row: SyntaxError: '(' was never closed" in done.stdout
    assert "it is tried again with the first request after 2023-11-1" in done.stdout
    told = json.loads(run("status", hello, "--output", "json").stdout)[0]["load_failure"]
    assert (told["failures"], told["error"]["type"]) == (3, "SyntaxError")


def test_status_shows_why_the_version_before_does_not_answer(run: Run, hello: str, peer: Peer) -> None:
    previous = rollovers_pb2.PreviousVersion(
        version=1, rule=invocations_pb2.ROLLOVER_RULE_WAITED_AS_DIFFERENT, differing_fields=["memory_mib"]
    )
    stand(peer, answering=0, previous=[previous])
    done = run("status", hello)
    assert "none is loaded; the next request starts it" in done.stdout
    assert "version 1 does not answer meanwhile: it differs in what callers can see (memory_mib)" in done.stdout


def test_rollover_sets_what_is_given_and_leaves_the_rest(run: Run, hello: str, peer: Peer) -> None:
    done = run("rollover", hello, "--max-staleness-s", "5")
    assert done.exit_code == 0
    assert "serve_previous" in done.stdout
    assert "5 s" in done.stdout
    assert "wait_for_new" in run("rollover", hello, "--policy", RolloverPolicy.WAIT_FOR_NEW).stdout
    assert (peer.rollover_policy, peer.max_staleness_s) == (functions_pb2.ROLLOVER_POLICY_WAIT_FOR_NEW, 5)


def test_a_policy_that_is_none_is_refused_with_those_there_are(run: Run, hello: str) -> None:
    done = run("rollover", hello, "--policy", "soon")
    assert done.exit_code != 0
    assert "serve_previous, wait_for_new" in done.stderr
