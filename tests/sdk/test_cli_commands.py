"""The commands: what they print where, the codes they end with, and what they say of mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stoker_service.errors import ErrorKind
from stoker_service.errors import StokerError as Refusal

from tests.sdk.peer import API_KEY, Peer

Run = Callable[..., Any]


@pytest.fixture
def hello(run: Run, code: Path) -> str:
    """A function that answers with its event."""
    assert run("deploy", "hello", str(code)).exit_code == 0
    return "hello"


def test_deploy_says_what_it_guessed_what_it_did_and_what_is_next(run: Run, code: Path) -> None:
    done = run("deploy", "hello", str(code))
    assert done.exit_code == 0
    assert done.stdout.startswith("hello: published version 1 (")
    assert done.stdout.endswith(" uploaded); `live` runs it\n")
    assert "runtime python3, handler main.handler (guessed from main.py)" in done.stderr
    assert "next: stoker invoke hello --data '{}'" in done.stderr


def test_deploy_can_leave_live_alone(run: Run, code: Path, peer: Peer) -> None:
    assert "stoker invoke hello:1 " in run("deploy", "hello", str(code), "--alias", "").stderr
    assert not peer.aliases


def test_deploy_takes_the_whole_configuration(run: Run, code: Path, peer: Peer) -> None:
    options = ["--memory-mib", "256", "--timeout-s", "5", "--env", "A=1", "--env", "B=x=y", "--description", "first"]
    options += ["--concurrency", "10"]
    done = run("deploy", "hello", str(code), "--runtime", "nodejs", "--handler", "a.b", *options, "--output", "json")
    version = json.loads(done.stdout)["version"]
    assert (version["runtime"], version["handler"], version["memory_mib"], version["timeout_s"]) == (
        "nodejs",
        "a.b",
        256,
        5,
    )
    assert (version["environment"], version["description"]) == ({"A": "1", "B": "x=y"}, "first")
    assert version["concurrency"] == 10


def test_invoke_prints_the_payload_alone(run: Run, hello: str) -> None:
    done = run("invoke", hello, "--data", '{"name": "you"}', "--log-tail")
    assert (done.exit_code, done.stdout_bytes, done.stderr) == (0, b'{"name": "you"}', "printed\n")


def test_invoke_prints_bytes_as_they_are(run: Run, hello: str) -> None:
    raw = b"\x00\xff\n"
    done = run("invoke", hello, "--data", "-", "--content-type", "application/octet-stream", stdin=raw)
    assert done.stdout_bytes == raw


def test_invoke_reads_a_file(run: Run, hello: str, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("[1]")
    assert run("invoke", hello, "--data", "@event.json").stdout == "[1]"


def test_invoke_as_json_says_what_ran_where(run: Run, hello: str) -> None:
    done = json.loads(run("invoke", f"{hello}:live", "--data", "[1]", "--output", "json").stdout)
    assert done == {
        "payload": [1],
        "executed_version": 1,
        "start": "warm",
        "timings_ms": {"queue": 0.5, "init": 0.0, "run": 1.0, "total": 2.0},
        "vm": "vm-1",
        "container": "c-1",
        "host": "host-1",
        "function_error": None,
        "invocation_id": "f" * 32,
    }


def test_a_failed_function_ends_with_1_and_tells_why_on_stderr(run: Run, code: Path) -> None:
    run("deploy", "boom", str(code))
    done = run("invoke", "boom")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == 'File "main.py", line 3, in handler\nValueError: bad luck\n'
    done = run("invoke", "boom", "--output", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["function_error"]["type"] == "ValueError"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "Hello_"], "name: 'Hello_' cannot be a name; use 1 to 63 lower-case letters"),
        (["init", "fresh", "--runtime", "cobol"], "--runtime: there is no `cobol`; there are python3, nodejs"),
        (["init", "code"], "cannot make code: File exists"),
        (["deploy", "hello", "nowhere"], "nowhere does not exist"),
        (["deploy", "hello", "empty"], "say --runtime and --handler, such as"),
        (["deploy", "hello", "code", "--runtime", "nodejs"], "say --handler, such as"),
        (["deploy", "hello", "code", "--runtime", "cobol", "--handler", "a.b"], "runtime: 'cobol' is none; there are"),
        (["deploy", "hello", "code", "--handler", "main"], "handler: 'main' is not `module.function`, such as"),
        (["deploy", "hello", "code", "--env", "1=2"], "--env: `1=2` is not NAME=VALUE"),
        (["deploy", "hello", "code", "--env", "A=2", "--env", "A=3"], "--env: A is given twice"),
        (["deploy", "hello", "code", "--memory-mib", "5"], "version.memory_mib: must be 0 (the default of 128) or"),
        (["deploy", "hello", "code/main.py", "--runtime", "python3", "--handler", "a.b"], "neither a directory, nor"),
        (["invoke", "hello:"], "qualifier: nothing follows the `:`"),
        (["invoke", "hello:2x"], "qualifier: '2x' is neither a version's number nor an alias"),
        (["invoke", "hello", "--data", "{name}"], "--data is not JSON (Expecting property name"),
        (["invoke", "hello", "--data", "@nofile"], "--data: cannot read nofile: No such file"),
        (["alias", "set", "hello", "live", "latest"], "`latest` names no versions; write one (`3`)"),
        (["alias", "set", "hello", "live", "1=90", "2=20"], "must be 100 together"),
        (["alias", "set", "hello", "live", "1=50", "1=50"], "names no versions"),
        (["concurrency", "set", "hello"], "say what to set: `--provisioned N`, `--maximum N`, or both"),
        (["concurrency", "set", "hello:", "--provisioned", "1"], "`hello:` names no alias; write `hello:live`"),
        (["concurrency", "set", "hello:3", "--provisioned", "1"], "`hello:3` names no alias; write `hello:live`"),
        (["concurrency", "set", "hello:Live", "--provisioned", "1"], "alias: 'Live' cannot be a name"),
        (["concurrency", "set", "hello:live", "--maximum", "1"], "--maximum is of a function as a whole"),
        (["delete", "hello"], "`--yes` is needed to delete function hello"),
        (["admin", "key", "revoke", "abc"], "16 hexadecimal digits"),
        (["admin", "tenant", "create", "ACME"], "tenant: 'ACME' cannot be a name"),
    ],
)
def test_what_was_typed_wrong_ends_with_2_and_a_line_that_helps(
    run: Run, code: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = run(*arguments)
    assert done.exit_code == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_what_the_platform_refuses_ends_with_3(run: Run, hello: str, peer: Peer) -> None:
    done = run("invoke", "nope")
    assert (done.exit_code, done.stderr) == (
        3,
        "error: there is no functions/nope; `stoker list` shows those there are, `stoker deploy` makes one\n",
    )
    peer.failures["Invoke"].append(Refusal(ErrorKind.RESOURCE_EXHAUSTED, "NO_CAPACITY", "no room", retry_after_s=5))
    done = run("invoke", hello)
    assert (done.exit_code, done.stderr) == (3, "error: no room; try again in 5 s\n")


def test_nobody_there_is_said_with_what_starts_it(run: Run) -> None:
    done = run("--endpoint", "127.0.0.1:1", "list")
    assert done.exit_code == 3
    assert done.stderr == "error: cannot reach Stoker at 127.0.0.1:1: is it running? `stoker up` starts it\n"


def test_a_bad_key_is_said_with_where_to_set_it(run: Run) -> None:
    done = run("--api-key", "bad", "list")
    assert done.exit_code == 3
    assert "set STOKER_API_KEY" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_fault_of_the_command_line_shows_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("stoker.client.Client.list_functions", fail)
    done = run("list")
    assert done.exit_code == 3
    assert done.stderr == "error: a fault in this command line: RuntimeError: odd (set STOKER_DEBUG=1 to see where)\n"


def test_lists_are_tables_and_json(run: Run, hello: str) -> None:
    assert run("list").stdout.splitlines()[0].split() == ["NAME", "VERSION", "CREATED", "DESCRIPTION"]
    assert [each["name"] for each in json.loads(run("list", "--output", "json").stdout)] == [hello]
    assert run("versions", hello).stdout.splitlines()[1].split()[:4] == ["1", "live", "python3", "main.handler"]
    assert run("alias", "set", hello, "canary", "1=90", "2=10").stdout == "hello:canary is now 1=90 2=10\n"
    assert json.loads(run("alias", "list", hello, "--output", "json").stdout)[0]["routes"] == {"1": 90, "2": 10}
    assert run("alias", "delete", hello, "canary").stdout == "deleted hello:canary\n"


def test_concurrency_is_set_piece_by_piece_and_shown(run: Run, hello: str) -> None:
    command = ("concurrency", "set", hello)
    assert run(*command, "--maximum", "50").stdout == "hello: no containers kept loaded, 50 invocations at once\n"
    assert run(*command, "--provisioned", "2").stdout == "hello: 2 kept loaded, 50 invocations at once\n"
    done = run("concurrency", "set", f"{hello}:live", "--provisioned", "1", "--output", "json")
    assert json.loads(done.stdout) == {
        "function": "hello",
        "alias": "live",
        "provisioned": 1,
        "maximum": 0,
        "loaded": 3,
        "leased": 1,
    }
    assert [line.split() for line in run("concurrency", "show", hello).stdout.splitlines()] == [
        ["FUNCTION", "PROVISIONED", "MAXIMUM", "LOADED", "LEASED"],
        ["hello", "2", "50", "3", "1"],
        ["hello:live", "1", "-", "3", "1"],
    ]
    assert run(*command, "--maximum", "0").stdout == "hello: 2 kept loaded, no maximum of its own\n"
    assert [each["maximum"] for each in json.loads(run("concurrency", "show", hello, "-o", "json").stdout)] == [0, 0]


def test_concurrency_is_shown_while_the_scheduler_is_away(run: Run, hello: str, peer: Peer) -> None:
    peer.is_scheduler_away = True
    done = run("concurrency", "show", hello)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].split() == ["hello", "-", "-", "?", "?"]
    assert done.stderr == "the scheduler does not answer, so what is loaded is not known\n"


def test_a_function_over_its_maximum_is_told_with_what_raises_it(run: Run, hello: str, peer: Peer) -> None:
    message = "functions/hello runs 5 invocations at once already; nothing ran, raise `maximum`"
    refusal = Refusal(
        ErrorKind.RESOURCE_EXHAUSTED, "FUNCTION_CONCURRENCY", message, retry_after_s=0.5, quota="functions/hello"
    )
    peer.failures["Invoke"].append(refusal)
    done = run("invoke", hello)
    assert done.exit_code == 3
    assert done.stderr == (
        "error: functions/hello runs 5 invocations at once already; "
        "nothing ran: try again, or raise the maximum with `stoker concurrency set`\n"
    )


def test_an_empty_list_says_how_to_begin(run: Run) -> None:
    done = run("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "`stoker init NAME` begins one" in done.stderr


def test_logs_are_text_and_json_lines(run: Run, hello: str, peer: Peer) -> None:
    peer.lines = ["one", "two"]
    assert [line.split()[-1] for line in run("logs", hello).stdout.splitlines()] == ["one", "two"]
    assert json.loads(run("logs", hello, "--limit", "1", "--output", "json").stdout)["line"] == "two"


def test_delete_deletes(run: Run, hello: str, peer: Peer) -> None:
    assert run("delete", hello, "--yes").stdout == "deleted function hello with all its versions\n"
    assert not peer.functions


def test_status_shows_services_hosts_vms_and_containers(run: Run) -> None:
    done = run("status")
    assert done.exit_code == 0
    for text in ("scheduler", "KVM hangs", "vm-1", "c-1"):
        assert text in done.stdout
    found = json.loads(run("status", "--output", "json").stdout)
    assert [each["state"] for each in found["services"]] == ["serving"] * 4
    assert found["hosts"][0]["accelerator"] == "qemu"


def test_status_ends_with_3_where_something_is_away(run: Run, peer: Peer) -> None:
    away = Refusal(ErrorKind.UNAVAILABLE, "SCHEDULER_UNAVAILABLE", "the scheduler does not answer", retry_after_s=60)
    peer.failures["GetFleet"].append(away)
    done = run("status", "--output", "json")
    assert done.exit_code == 3
    states = {each["service"]: each["state"] for each in json.loads(done.stdout)["services"]}
    assert states == {"frontend": "serving", "codestore": "serving", "scheduler": "away", "hostagent": "unknown"}


def test_a_new_tenants_key_is_alone_on_stdout(run: Run) -> None:
    assert run("admin", "tenant", "create", "acme").stdout == f"{API_KEY}\n"
    assert run("admin", "tenant", "list").stdout.splitlines()[1].startswith("acme")
    assert run("admin", "key", "create", "acme").stdout == f"{API_KEY}\n"
    assert run("admin", "key", "revoke", API_KEY).stdout == f"revoked {'a' * 16}\n"


@pytest.mark.parametrize("runtime", ["python3", "nodejs"])
def test_what_init_makes_can_be_deployed_as_it_is(run: Run, runtime: str) -> None:
    assert run("init", "fresh", "--runtime", runtime).exit_code == 0
    done = run("deploy", "fresh", "fresh", "--output", "json")
    assert json.loads(done.stdout)["version"]["runtime"] == runtime


def test_the_examples_can_be_deployed_as_they_are(run: Run) -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    for name, handler in (("hello", "main.handler"), ("hello-node", "index.handler")):
        done = run("deploy", name, str(examples / name), "--output", "json")
        assert json.loads(done.stdout)["version"]["handler"] == handler


def test_down_without_a_stoker_has_nothing_to_do(run: Run, tmp_path: Path) -> None:
    done = run("down", "--home", str(tmp_path))
    assert done.exit_code == 0
    assert "nothing to stop" in done.stderr
