"""Each way in which a function can fail is told apart, and none of them harms the next invocation."""

from pathlib import Path

import pytest
import stoker
from stoker.models import FunctionErrorKind

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

SOURCE = """
import os, time

def handler(event, context):
    match event:
        case "raise":
            raise ValueError("no good")
        case "exit":
            os._exit(7)
        case "hang":
            time.sleep(600)
        case "eat":
            eaten = []
            while True:
                eaten.append(bytearray(8 * 1024 * 1024))
        case "flood":
            return "x" * (7 * 1024 * 1024)
        case _:
            return "fine"
"""


@pytest.fixture(scope="module")
def failing(system: RunningStoker, tmp_path_factory: pytest.TempPathFactory) -> str:
    code = write_function(tmp_path_factory.mktemp("failing"), SOURCE)
    with system.client() as client:
        client.deploy("failing", code, runtime="python3", handler="main.handler", timeout_s=5)
    return "failing"


@pytest.mark.parametrize(
    ("event", "kind", "told"),
    [
        ("raise", FunctionErrorKind.EXCEPTION, "no good"),
        ("exit", FunctionErrorKind.EXIT, "7"),
        ("hang", FunctionErrorKind.TIMEOUT, "5"),
        ("eat", FunctionErrorKind.OUT_OF_MEMORY, "128"),
        ("flood", FunctionErrorKind.RESPONSE_TOO_LARGE, "6"),
    ],
)
def test_a_failure_is_told_and_the_next_invocation_is_fine(
    client: stoker.Client, failing: str, event: str, kind: FunctionErrorKind, told: str
) -> None:
    result = client.invoke(failing, event, timeout_s=120)
    assert result.function_error is not None
    assert result.function_error.kind == kind
    assert told in result.function_error.message
    assert result.payload == b""
    assert client.invoke(failing, "fine", timeout_s=120).json() == "fine"


def test_an_exception_comes_with_its_type_and_stack(client: stoker.Client, failing: str) -> None:
    error = client.invoke(failing, "raise", timeout_s=120).function_error
    assert error is not None
    assert error.type == "ValueError"
    assert "main.py" in "".join(error.stack_trace)


@pytest.mark.parametrize(
    ("name", "source", "handler", "told"),
    [
        ("no-module", "", "absent.handler", "absent"),
        ("no-handler", "x = 1\n", "main.handler", "handler"),
        ("bad-import", "import nothing_of_that_name\n", "main.handler", "nothing_of_that_name"),
        ("bad-syntax", "def handler(:\n", "main.handler", "main.py"),
    ],
)
def test_code_that_cannot_be_loaded_is_said_to_be(
    client: stoker.Client, tmp_path: Path, name: str, source: str, handler: str, told: str
) -> None:
    client.deploy(name, write_function(tmp_path, source), runtime="python3", handler=handler)
    error = client.invoke(name, timeout_s=120).function_error
    assert error is not None
    assert error.kind is FunctionErrorKind.LOAD
    assert told in error.message + "".join(error.stack_trace)


def test_a_caller_that_gives_up_frees_its_container(client: stoker.Client, failing: str) -> None:
    with pytest.raises(stoker.errors.DeadlineExceeded):
        client.invoke(failing, "hang", timeout_s=2)
    assert client.invoke(failing, "fine", timeout_s=120).json() == "fine"
