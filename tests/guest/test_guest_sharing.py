"""Several invocations at once in one runtime: real runtimes as processes, and the agent's side of them."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from agent import sharing
from agent.failures import Failure, FailureKind
from agent.runtime_channel import ChannelClosed, ChannelMisused, Message
from agent.sharing import Sharing

from tests.guest.runtime_process import LIMIT_BYTES, Runtime, running, written

MOST = 10
PYTHON = """
    import asyncio, os, sys, threading

    met = asyncio.Event()
    waiting = 0

    async def meet(number):
        global waiting
        waiting += 1
        if waiting == number:
            met.set()
        await met.wait()

    async def handler(event, context):
        match event["do"]:
            case "meet":
                print("before", event["me"], end="")
                await meet(event["number"])
                print(" and after", event["me"])
                await asyncio.to_thread(print, "in a thread", event["me"], file=sys.stderr)
                os.write(1, b"past all streams\\n")
                return event["me"]
            case "fail":
                raise ValueError("no")
            case "hang":
                print("hanging", flush=True)
                await asyncio.Event().wait()
            case "linger":
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0.05)
                    print("cleaned up")
            case "ignore":
                while True:
                    try:
                        await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        pass
            case "exit":
                sys.exit(3)
            case "large":
                return "x" * event["size"]
            case "answer":
                return [context.invocation_id, context.remaining_ms() <= 5000]
    """
NODEJS = """
    const { setTimeout: sleep } = require('node:timers/promises');
    let waiting = 0;
    let meet;
    const met = new Promise((resolve) => { meet = resolve; });
    exports.handler = async (event, context) => {
      switch (event.do) {
        case 'meet':
          process.stdout.write(`before ${event.me}`);
          waiting += 1;
          if (waiting === event.number) meet();
          await met;
          console.log(` and after ${event.me}`);
          setImmediate(() => console.error(`in a thread ${event.me}`));
          await sleep(5);
          require('fs').writeSync(1, 'past all streams\\n');
          return event.me;
        case 'fail':
          throw new (class ValueError extends Error {})('no');
        case 'uncaught':
          setTimeout(() => { throw new RangeError('lost'); }, 1);
          return new Promise(() => {});
        case 'rejected':
          Promise.resolve().then(() => { Promise.reject(new RangeError('lost')); });
          return new Promise(() => {});
        case 'hang':
          console.log('hanging');
          await new Promise(() => {});
          break;
        case 'linger':
          await new Promise((_, reject) => context.signal.addEventListener('abort', () => {
            console.log('cleaned up');
            reject(context.signal.reason);
          }));
          break;
        case 'exit':
          process.exit(3);
          break;
        case 'block':
          for (;;);
        case 'large':
          return 'x'.repeat(event.size);
        case 'answer':
          return [context.invocationId, context.remainingMs() <= 5000];
      }
    };
    """
CODE: Mapping[str, Mapping[str, str]] = {"python3": {"main.py": PYTHON}, "nodejs": {"main.js": NODEJS}}


@dataclass
class Shared:
    """A runtime with the agent's side of it."""

    runtime: Runtime
    sharing: Sharing
    lines: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    has_printed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, invocation_id: str, timeout_ms: int = 5000, max_bytes: int = LIMIT_BYTES, **event: Any) -> Any:
        """Has an invocation run; returns its end."""
        return (await self.ask_with_tail(invocation_id, timeout_ms, max_bytes, **event))[0]

    async def ask_with_tail(
        self, invocation_id: str, timeout_ms: int = 5000, max_bytes: int = LIMIT_BYTES, **event: Any
    ) -> tuple[Message | Failure, bytes]:
        """Has an invocation run; returns its end and the last it printed."""
        header = {
            "type": "invoke",
            "invocation_id": invocation_id,
            "content_type": "application/json",
            "timeout_ms": timeout_ms,
            "traceparent": "",
            "max_response_bytes": max_bytes,
        }
        return await self.sharing.exchange(invocation_id, header, json.dumps(event).encode(), timeout_ms, max_bytes)

    async def printed(self, invocation_id: str, line: str) -> None:
        """Waits until an invocation has printed a line."""
        async with asyncio.timeout(5):
            while line not in self.lines[invocation_id, "stdout"]:
                self.has_printed.clear()
                await self.has_printed.wait()


@asynccontextmanager
async def shared(language: str, code: Path, most: int = MOST) -> AsyncGenerator[Shared]:
    """A runtime that runs several at once, and is killed as the agent kills containers."""
    async with running(language, written(code, CODE[language])) as runtime, asyncio.TaskGroup() as group:
        loaded = await runtime.load(concurrency=most)
        assert loaded.type == "loaded", loaded.header

        def take(invocation_id: str, stream: str, lines: list[str]) -> None:
            it.lines[invocation_id, stream].extend(lines)
            it.has_printed.set()

        it = Shared(runtime, Sharing(runtime.channel, most, take, runtime.process.kill))

        async def listen() -> None:
            with pytest.raises((ChannelClosed, ChannelMisused)):
                await it.sharing.listen()
            it.sharing.end(Failure(FailureKind.EXIT, "Exit", "the process ended"))
            it.ended.set()

        listening = group.create_task(listen())
        yield it
        listening.cancel()


@pytest.fixture(params=["python3", "nodejs"])
def language(request: pytest.FixtureRequest) -> str:
    """Each of the languages."""
    return request.param


def result_of(answer: Message | Failure) -> Any:
    """What an invocation that must not have failed has returned."""
    assert isinstance(answer, Message)
    assert answer.type == "result", answer.header
    return json.loads(answer.body or b"")


async def test_all_run_at_once_and_each_gets_its_own_answer(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        answers = await asyncio.gather(
            *(it.ask(f"i-{number}", do="meet", me=number, number=MOST) for number in range(MOST))
        )
    assert [result_of(answer) for answer in answers] == list(range(MOST))


async def test_what_each_prints_is_its_own_and_whole_lines(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        ends = await asyncio.gather(*(it.ask_with_tail(f"i-{me}", do="meet", me=me, number=3) for me in range(3)))
        for me, (answer, tail) in enumerate(ends):
            assert result_of(answer) == me
            assert it.lines[f"i-{me}", "stdout"] == [f"before {me} and after {me}"]
            assert it.lines[f"i-{me}", "stderr"] == [f"in a thread {me}"]
            assert set(tail.decode().splitlines()) == {f"before {me} and after {me}", f"in a thread {me}"}
        # What goes past the streams can't be told apart, and is left to the container.
        assert it.runtime.process.stdout is not None
        assert await it.runtime.process.stdout.readexactly(3 * 17) == b"past all streams\n" * 3


async def test_one_that_fails_fails_alone(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        waiting = asyncio.create_task(it.ask("waits", do="meet", me=1, number=2))
        failed = await it.ask("fails", do="fail")
        assert (failed.type, failed.header["error_type"], failed.header["message"]) == ("failed", "ValueError", "no")
        assert result_of(await it.ask("joins", do="meet", me=2, number=2)) == 2
        assert result_of(await waiting) == 1
        assert any("no" in line for line in it.lines["fails", "stderr"])


async def test_one_that_takes_too_long_is_cancelled_and_the_others_go_on(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        waiting = asyncio.create_task(it.ask("waits", do="meet", me=1, number=2))
        late, tail = await it.ask_with_tail("late", 100, do="hang")
        assert isinstance(late, Failure)
        assert (late.kind, late.message) == (
            FailureKind.TIMEOUT,
            "the invocation took longer than 0.1 s and was cancelled",
        )
        assert tail.startswith(b"hanging\n")
        assert result_of(await it.ask("joins", do="meet", me=2, number=2)) == 2
        assert result_of(await waiting) == 1
        assert not it.sharing.runs("late")


async def test_one_whose_caller_leaves_is_cancelled_and_may_clean_up(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        leaving = asyncio.create_task(it.ask("leaves", do="linger"))
        assert result_of(await it.ask("other", do="answer")) == ["other", True]
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await it.printed("leaves", "cleaned up")
        assert result_of(await it.ask("after", do="answer")) == ["after", True]
        assert not it.ended.is_set()


@pytest.mark.parametrize(("language_of", "what"), [("python3", "ignore"), ("nodejs", "block")])
async def test_one_that_does_not_end_in_its_grace_takes_all_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language_of: str, what: str
) -> None:
    monkeypatch.setattr(sharing, "CANCEL_GRACE_S", 0.2)
    async with shared(language_of, tmp_path) as it:
        waiting = asyncio.create_task(it.ask("waits", do="hang"))
        await it.printed("waits", "hanging")
        late = await it.ask("late", 100, do=what)
        assert (late.kind, late.type) == (FailureKind.TIMEOUT, "Timeout")
        other = await waiting
        assert (other.kind, other.type) == (FailureKind.EXIT, "Killed")
        assert "because another one in it did not end 0.2 s after it was cancelled" in other.message
        await it.ended.wait()


async def test_a_process_that_ends_ends_all_that_run_in_it(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        waiting = asyncio.create_task(it.ask("waits", do="hang"))
        await it.printed("waits", "hanging")
        for ended in (await it.ask("exits", do="exit"), await waiting):
            assert (ended.kind, ended.type) == (FailureKind.EXIT, "Exit")
        assert await it.runtime.process.wait() == 3


async def test_a_cancelled_invocation_no_longer_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "CANCEL_GRACE_S", 60.0)
    async with shared("python3", tmp_path, most=2) as it:
        first = asyncio.create_task(it.ask("first", do="ignore"))
        second = asyncio.create_task(it.ask("second", do="hang"))
        await it.printed("second", "hanging")
        assert it.sharing.is_full
        first.cancel()
        await asyncio.wait([first])
        assert not it.sharing.is_full
        assert it.sharing.runs("first")
        second.cancel()


async def test_each_has_a_limit_of_its_own_for_its_response(language: str, tmp_path: Path) -> None:
    async with shared(language, tmp_path) as it:
        small, large = await asyncio.gather(
            it.ask("small", max_bytes=100, do="large", size=200), it.ask("large", do="large", size=6 * 2**20 - 2)
        )
        assert (small.type, small.header["is_too_large"]) == ("failed", True)
        assert len(result_of(large)) == 6 * 2**20 - 2


@pytest.mark.parametrize("what", ["uncaught", "rejected"])
async def test_an_error_that_nobody_catches_is_that_of_the_invocation_it_belongs_to(tmp_path: Path, what: str) -> None:
    async with shared("nodejs", tmp_path) as it:
        waiting = asyncio.create_task(it.ask("waits", do="meet", me=1, number=2))
        lost = await it.ask("lost", do=what)
        assert (lost.type, lost.header["error_type"], lost.header["message"]) == ("failed", "RangeError", "lost")
        assert result_of(await it.ask("joins", do="meet", me=2, number=2)) == 2
        assert result_of(await waiting) == 1


@pytest.mark.parametrize(
    ("source", "is_taken"),
    [
        ("async def handler(e, c): return 1", True),
        ("class H:\n    async def __call__(self, e, c): return 1\nhandler = H()", True),
        ("import functools\nasync def h(f, e, c): return 1\nhandler = functools.partial(h, 1)", True),
        (
            "import functools\nasync def h(e, c): return 1\n@functools.wraps(h)\ndef handler(e, c): return h(e, c)",
            True,
        ),
        ("def handler(e, c): return 1", False),
        ("handler = dict", False),
    ],
)
async def test_python_takes_asynchronous_handlers_alone(tmp_path: Path, source: str, is_taken: bool) -> None:
    async with running("python3", written(tmp_path, {"main.py": source})) as runtime:
        answer = await runtime.load(concurrency=2)
        assert answer.type == ("loaded" if is_taken else "failed")
        if is_taken:
            assert (await runtime.invoke(b"1")).body == b"1"
        else:
            assert answer.header["error_type"] == "HandlerNotAsync"
            assert "write `async def`, or deploy with a concurrency of 1" in answer.header["message"]


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"type": "result"}, b""),
        ({"type": "result", "invocation_id": 7}, b""),
        ({"type": "result", "invocation_id": "unknown"}, b""),
        ({"type": "nonsense", "invocation_id": "i-1"}, b""),
        ({"type": "output", "invocation_id": "i-1", "stream": "stdin"}, b"x"),
        ({"type": "output", "invocation_id": "i-1", "stream": ["stdout"]}, b"x"),
        ({"type": "output", "invocation_id": "i-1", "stream": "stdout"}, bytes(8 * 2**20)),
    ],
)
async def test_what_no_runtime_sends_is_told_as_misuse(tmp_path: Path, header: dict[str, Any], body: bytes) -> None:
    source = f"""
        import json, os, struct

        async def handler(event, context):
            text = json.dumps({header!r}).encode()
            with open(3, "wb", closefd=False) as channel:
                channel.write(struct.pack(">II", len(text), {len(body)}) + text + bytes({len(body)}))
            return 1
        """
    async with running("python3", written(tmp_path, {"main.py": source})) as runtime:
        await runtime.load(concurrency=2)
        printed: list[list[str]] = []
        lone = Sharing(runtime.channel, 2, lambda _, __, lines: printed.append(lines), runtime.process.kill)
        asking = asyncio.create_task(
            lone.exchange(
                "i-1",
                {
                    "type": "invoke",
                    "invocation_id": "i-1",
                    "content_type": "",
                    "timeout_ms": 5000,
                    "traceparent": "",
                    "max_response_bytes": 100,
                },
                b"1",
                5000,
                100,
            )
        )
        with pytest.raises(ChannelMisused):
            await lone.listen()
        lone.end(Failure(FailureKind.EXIT, "RuntimeMisused", ""))
        assert isinstance((await asking)[0], Failure)
