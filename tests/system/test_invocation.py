"""Functions are deployed over gRPC and answer from containers in virtual machines."""

import json
from pathlib import Path

import stoker
from stoker.models import Start

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

COUNTER = """
count = 0

def handler(event, context):
    global count
    count += 1
    return {"count": count, "version": context.function_version, "tenant": context.tenant}
"""


def test_a_deployed_function_answers(client: stoker.Client, hello: str) -> None:
    result = client.invoke(hello, {"name": "world"}, timeout_s=120)
    assert result.function_error is None
    assert "world" in json.dumps(result.json())
    assert result.executed_version == 1


def test_the_second_invocation_is_warm_and_in_the_same_container(client: stoker.Client, hello: str) -> None:
    first = client.invoke(hello, {"name": "a"}, timeout_s=120)
    second = client.invoke(hello, {"name": "b"}, timeout_s=60)
    assert (second.start, second.container) == (Start.WARM, first.container)
    assert second.timings.init_ms == 0


def test_a_container_keeps_its_memory_between_invocations(client: stoker.Client, tmp_path: Path) -> None:
    client.deploy("counter", write_function(tmp_path, COUNTER), runtime="python3", handler="main.handler")
    counts = [client.invoke("counter", timeout_s=120).json() for _ in range(3)]
    assert [answer["count"] for answer in counts] == [1, 2, 3]
    assert counts[0]["tenant"] == "dev"


def test_a_node_function_answers(client: stoker.Client, tmp_path: Path) -> None:
    source = (
        "exports.handler = async (event, context) => ({ sum: event.a + event.b, left: context.remainingMs() > 0 });"
    )
    code = write_function(tmp_path, source, "index.js")
    client.deploy("sum", code, runtime="nodejs", handler="index.handler")
    assert client.invoke("sum", {"a": 2, "b": 3}, timeout_s=120).json() == {"sum": 5, "left": True}


def test_bytes_go_in_and_come_out_unchanged(client: stoker.Client, tmp_path: Path) -> None:
    code = write_function(tmp_path, "def handler(event, context):\n    return event[::-1]\n")
    client.deploy("reverse", code, runtime="python3", handler="main.handler")
    payload = bytes(range(256)) * 4096
    result = client.invoke("reverse", payload, content_type="application/octet-stream", timeout_s=120)
    assert result.payload == payload[::-1]
    assert result.content_type == "application/octet-stream"


def test_each_qualifier_runs_its_own_version(client: stoker.Client, tmp_path: Path) -> None:
    for answer in ("one", "two"):
        code = write_function(tmp_path / answer, f"def handler(event, context):\n    return {answer!r}\n")
        client.deploy("pair", code, runtime="python3", handler="main.handler")
    client.set_alias("pair", "old", {1: 100})
    by_qualifier = {name: client.invoke("pair", qualifier=name, timeout_s=120) for name in ("1", "2", "old", "live")}
    assert {name: result.json() for name, result in by_qualifier.items()} == {
        "1": "one",
        "2": "two",
        "old": "one",
        "live": "two",
    }
    assert {name: result.executed_version for name, result in by_qualifier.items()} == {
        "1": 1,
        "2": 2,
        "old": 1,
        "live": 2,
    }


def test_environment_and_event_reach_the_handler(client: stoker.Client, tmp_path: Path) -> None:
    source = "import os\n\ndef handler(event, context):\n    return [os.environ['GREETING'], event]\n"
    code = write_function(tmp_path, source)
    client.deploy("env", code, runtime="python3", handler="main.handler", environment={"GREETING": "good day ☀"})
    assert client.invoke("env", {"deep": [1, None, "ü"]}, timeout_s=120).json() == [
        "good day ☀",
        {"deep": [1, None, "ü"]},
    ]


def test_what_a_function_prints_can_be_read(client: stoker.Client, system: RunningStoker, tmp_path: Path) -> None:
    source = "import sys\n\ndef handler(event, context):\n    print('to out')\n    print('to err', file=sys.stderr)\n"
    client.deploy("chatty", write_function(tmp_path, source), runtime="python3", handler="main.handler")
    result = client.invoke("chatty", log_tail=True, timeout_s=120)
    assert set(result.log_tail.splitlines()) == {"to out", "to err"}
    lines = [line for line in client.tail_logs("chatty") if line.invocation_id == result.invocation_id]
    assert {(line.stream, line.line) for line in lines} == {("stdout", "to out"), ("stderr", "to err")}
    assert "to out" in system.run("logs", "chatty").stdout
