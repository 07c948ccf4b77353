"""The agent's side of a container: a function can send whatever it likes, and harms only itself."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest
from agent import checks, failures
from agent.failures import Ended, FailureKind
from agent.runtime_channel import ChannelClosed, ChannelMisused, RuntimeChannel
from agent.tracing import Span, child_traceparent
from hypothesis import given
from hypothesis import strategies as st
from stoker_ttrpc.errors import Code, RpcError


class Ends:
    """A channel, and the socket that a function would have."""

    def __init__(self, channel: RuntimeChannel, function: socket.socket) -> None:
        self.channel = channel
        self.function = function

    async def receive(self, sent: bytes, max_body_bytes: int = 100) -> object:
        """What the agent makes of what a function has sent."""
        self.function.sendall(sent)
        return await asyncio.wait_for(self.channel.receive(max_body_bytes), 5)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Both ends of a channel."""
    own, function = socket.socketpair()
    with function:
        channel = RuntimeChannel(own)
        yield Ends(channel, function)
        channel.close()


def framed(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(4, "big") + len(body).to_bytes(4, "big") + header + body


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 100,
        framed(b"nonsense"),
        framed(b"\xff\xfe"),
        framed(b"[]"),
        framed(b"1"),
        framed(b"{}"),
        framed(b'{"type": 1}'),
        framed(b"[" * 100_000),
    ],
)
async def test_what_is_no_message_is_told_as_misuse(ends: Ends, sent: bytes) -> None:
    with pytest.raises(ChannelMisused):
        await ends.receive(sent)


async def test_a_body_over_the_limit_is_thrown_away_and_the_next_message_read(ends: Ends) -> None:
    first = await ends.receive(framed(b'{"type": "result"}', bytes(101)) + framed(b'{"type": "next"}'))
    second = await ends.receive(b"")
    assert [first, second] == [
        type(first)("result", {"type": "result"}, None),  # pyright: ignore[reportCallIssue] - a Message
        type(first)("next", {"type": "next"}, b""),  # pyright: ignore[reportCallIssue] - a Message
    ]


async def test_an_end_midway_is_an_end(ends: Ends) -> None:
    ends.function.sendall(framed(b'{"type": "result"}')[:10])
    ends.function.close()
    with pytest.raises(ChannelClosed):
        await ends.channel.receive()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["error_type", "message", "stack_trace", "is_too_large"]), json_values))
def test_any_failure_that_a_function_tells_becomes_one_that_can_be_sent(header: dict[str, object]) -> None:
    failure = failures.from_runtime(json.loads(json.dumps(header)))
    assert failure.kind in (FailureKind.EXCEPTION, FailureKind.RESPONSE_TOO_LARGE)
    assert failure.type
    for text in (failure.type, failure.message, *failure.stack_trace):
        assert len(text.encode()) <= 4 * 16 * 1024
    assert len(failure.stack_trace) <= 64


def test_a_long_failure_is_cut() -> None:
    header = {"error_type": "E" * 1000, "message": "\ud800" + "m" * 100_000, "stack_trace": ["f" * 10_000] * 1000}
    failure = failures.from_runtime(header)
    assert (len(failure.type), len(failure.message), len(failure.stack_trace)) == (256, 16 * 1024, 64)
    assert {len(frame) for frame in failure.stack_trace} == {1024}


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Ended(0, False), "exited with code 0"),
        (Ended(3, False), "exited with code 3"),
        (Ended(-9, False), "was killed by SIGKILL"),
        (Ended(-63, False), "was killed by signal 63"),
    ],
)
def test_an_end_is_told_in_words(ended: Ended, said: str) -> None:
    assert said in failures.exited(ended, "the invocation", 128).message


def test_an_end_for_want_of_memory_is_told_as_such() -> None:
    failure = failures.exited(Ended(-9, True), "the invocation", 128)
    assert (failure.kind, Ended(-9, True).reason) == (FailureKind.OUT_OF_MEMORY, "oom")
    assert "128 MiB" in failure.message


@pytest.mark.parametrize("name", ["", "-c", "a b", "../x", "a/b", "x" * 64, "é", "a\n", "."])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(RpcError, match="container") as caught:
        checks.name("container", name)
    assert caught.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "path", ["", "/", "..", "a/..", "a//b", "/a", ".", "a/./b", "a\0", ".hidden", "a/" + "x" * 256]
)
def test_a_path_that_leaves_its_share_is_refused(path: str) -> None:
    with pytest.raises(RpcError, match="path"):
        checks.relative_path("path", path)


def test_the_paths_that_hosts_use_are_taken() -> None:
    assert str(checks.relative_path("path", "ab" * 32)) == "ab" * 32
    assert str(checks.relative_path("path", "dir/file-1_2.x")) == "dir/file-1_2.x"


def test_a_span_is_the_parent_of_what_follows() -> None:
    span = Span("handler")
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert child_traceparent(f"00-{trace}-b7ad6b7169203331-01", span) == f"00-{trace}-{span.id}-01"
    assert child_traceparent("", span) == ""
    assert len(span.id) == 16
