"""The way to a guest agent holds through breaks, and ends with the guest. The other side is a real ttrpc server."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from stoker_hostagent.guest import Guest
from stoker_hostagent.guest_channel import SERVICE, GuestChannel
from stoker_hostagent.guest_messages import (
    Code,
    Failure,
    FunctionIdentity,
    GuestContainer,
    GuestFacts,
    Invocation,
    Loaded,
)
from stoker_protos.guest.v1 import guest_pb2, transport_pb2
from stoker_service.errors import ErrorKind, StokerError
from stoker_ttrpc.errors import RpcError
from stoker_ttrpc.server import Method, Server, StreamMethod, UnaryMethod

VM = "vm-0123456789ab"
HELLO = guest_pb2.HelloResponse(image="image-a", boot_id="boot", container_memory_mib=400, runtimes=["python3"])


class FakeGuest:
    """A guest that answers what a test tells it to, over a socket as QEMU would offer it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.requests: list[Any] = []
        self.events: asyncio.Queue[guest_pb2.WatchResponse] = asyncio.Queue(16)
        self._methods: dict[str, Method] = {"Watch": StreamMethod(guest_pb2.WatchRequest, self._watch)}
        self.greeted = asyncio.Event()
        """Set when somebody has connected."""
        self.serves("Hello", guest_pb2.HelloRequest, self._hello)

    def answers(self, method: str, request_class: type[Any], answer: Any) -> None:
        """Sets what a method answers: a response, or an error."""

        async def respond(request: Any) -> Any:
            self.requests.append(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.serves(method, request_class, respond)

    def serves(self, method: str, request_class: type[Any], respond: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        """Sets what serves a method."""
        self._methods[method] = UnaryMethod(request_class, respond)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Serves one connection after another while the context is entered."""
        server = Server({SERVICE: self._methods}, transport_pb2.TransportRequest, transport_pb2.TransportResponse)
        connections: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(writer)
            await server.serve(reader, writer)
            connections.discard(writer)
            writer.close()

        self.socket.unlink(missing_ok=True)
        listener = await asyncio.start_unix_server(serve, self.socket)
        try:
            yield
        finally:
            listener.close()
            for writer in list(connections):
                writer.close()

    async def _hello(self, _request: Any) -> guest_pb2.HelloResponse:
        self.greeted.set()
        return HELLO

    async def _watch(self, _request: Any) -> AsyncGenerator[guest_pb2.WatchResponse, None]:
        while True:
            yield await self.events.get()


@asynccontextmanager
async def channel_to(
    fake: FakeGuest,
    *,
    unreachable_s: float = 30,
    heard: Callable[[guest_pb2.WatchResponse], None] = lambda _event: None,
) -> AsyncGenerator[tuple[GuestChannel, "asyncio.Task[None]"]]:
    channel = GuestChannel(VM, fake.socket, unreachable_s, heard)
    running = asyncio.create_task(channel.run())
    try:
        async with asyncio.timeout(10):
            yield channel, running
    finally:
        channel.close()
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
def fake(tmp_path: Path) -> FakeGuest:
    """A guest that does not listen yet."""
    return FakeGuest(tmp_path / "guest.sock")


async def test_a_guest_that_boots_late_is_reached(fake: FakeGuest) -> None:
    async with channel_to(fake) as (channel, _):
        answer = asyncio.create_task(Guest(channel).wait_answer())
        await asyncio.sleep(0)
        async with fake.listening():
            assert await answer == GuestFacts("image-a", "boot", 400, ("python3",))


async def test_a_broken_connection_is_made_again(fake: FakeGuest) -> None:
    fake.answers("ListContainers", guest_pb2.ListContainersRequest, guest_pb2.ListContainersResponse())
    async with channel_to(fake) as (channel, _):
        async with fake.listening():
            await channel.wait_answer()
        fake.greeted.clear()
        async with fake.listening():
            await fake.greeted.wait()
            assert await Guest(channel).list_containers() == []


async def test_a_call_that_runs_while_the_connection_breaks_fails_and_is_not_repeated(fake: FakeGuest) -> None:
    has_begun = asyncio.Event()

    async def hang(request: Any) -> Any:
        fake.requests.append(request)
        has_begun.set()
        await asyncio.Event().wait()

    fake.serves("DestroyContainer", guest_pb2.DestroyContainerRequest, hang)
    async with channel_to(fake) as (channel, _):
        async with fake.listening():
            await channel.wait_answer()
            call = asyncio.create_task(Guest(channel).destroy_container("c-1"))
            await has_begun.wait()
        with pytest.raises(StokerError) as failed:
            await call
        assert failed.value.reason == "GUEST_UNREACHABLE"
        async with fake.listening():
            await channel.wait_answer()
    assert [each for each in fake.requests if isinstance(each, guest_pb2.DestroyContainerRequest)] == [
        guest_pb2.DestroyContainerRequest(container="c-1")
    ]


async def test_a_guest_that_is_silent_for_long_is_given_up(fake: FakeGuest) -> None:
    async with channel_to(fake, unreachable_s=0.5) as (channel, running):
        async with fake.listening():
            await channel.wait_answer()
        await running


async def test_a_guest_that_hangs_while_its_connection_stands_is_given_up(fake: FakeGuest) -> None:
    async def hang(_request: Any) -> Any:
        await asyncio.Event().wait()

    async with fake.listening(), channel_to(fake, unreachable_s=0.5) as (channel, running):
        await channel.wait_answer()
        fake.serves("Hello", guest_pb2.HelloRequest, hang)
        await running


async def test_a_guest_that_answers_stays_reachable(fake: FakeGuest) -> None:
    async with fake.listening(), channel_to(fake, unreachable_s=0.3) as (channel, running):
        await channel.wait_answer()
        await asyncio.wait([running], timeout=0.9)
        assert not running.done()


async def test_a_guest_that_has_never_answered_is_waited_for(fake: FakeGuest) -> None:
    async with channel_to(fake, unreachable_s=0.05) as (channel, running):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await channel.wait_answer()
        assert not running.done()


async def test_a_channel_that_is_closed_lets_nobody_wait(fake: FakeGuest) -> None:
    async with channel_to(fake) as (channel, _):
        waiting = asyncio.create_task(channel.wait_answer())
        await asyncio.sleep(0)
        channel.close()
        with pytest.raises(StokerError, match="the VM has ended"):
            await waiting


async def test_what_the_guest_reports_is_heard(fake: FakeGuest) -> None:
    heard: asyncio.Queue[guest_pb2.WatchResponse] = asyncio.Queue()
    event = guest_pb2.WatchResponse(exited=guest_pb2.ContainerExited(container="c-1", reason="oom"))
    async with fake.listening(), channel_to(fake, heard=heard.put_nowait):
        await fake.events.put(event)
        assert await heard.get() == event


async def test_a_call_that_takes_too_long_is_out_of_reach(fake: FakeGuest) -> None:
    was_cancelled = asyncio.Event()

    async def hang(_request: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()

    fake.serves("Configure", guest_pb2.ConfigureRequest, hang)
    async with fake.listening(), channel_to(fake) as (channel, _):
        with pytest.raises(StokerError, match="Configure") as failed:
            await channel.call("Configure", guest_pb2.ConfigureRequest(), guest_pb2.ConfigureResponse, 0.1)
        assert failed.value.reason == "GUEST_UNREACHABLE"
        await was_cancelled.wait()


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (5, ErrorKind.NOT_FOUND, "GUEST_NOT_FOUND"),
        (8, ErrorKind.RESOURCE_EXHAUSTED, "GUEST_RESOURCE_EXHAUSTED"),
        (77, ErrorKind.UNKNOWN, "GUEST_UNKNOWN"),
    ],
)
async def test_what_the_guest_refuses_has_its_reason(fake: FakeGuest, code: int, kind: ErrorKind, reason: str) -> None:
    fake.answers("CreateContainer", guest_pb2.CreateContainerRequest, RpcError(code, "no more memory"))
    async with fake.listening(), channel_to(fake) as (channel, _):
        with pytest.raises(StokerError, match="no more memory") as failed:
            await Guest(channel).create_container("c-1", "python3", 128, 16)
    assert (failed.value.kind, failed.value.reason) == (kind, reason)


async def test_calls_arrive_as_they_were_meant(fake: FakeGuest) -> None:
    code = Code(
        "code", "ab" * 32, "main.handler", {"A": "1"}, 5000, FunctionIdentity("acme", "hello", 3, 128), b"label"
    )
    invocation = Invocation("c-1", "i-1", b"{}", "application/json", 2000, "00-ab-cd-01", 1024)
    failure = guest_pb2.FunctionFailure(kind=2, type="ValueError", message="bad", stack_trace=["a", "b"])
    fake.answers("LoadCode", guest_pb2.LoadCodeRequest, guest_pb2.LoadCodeResponse(failure=failure))
    fake.answers(
        "Invoke",
        guest_pb2.InvokeRequest,
        guest_pb2.InvokeResponse(
            payload=b"1",
            content_type="application/json",
            run_ns=7,
            spans=[guest_pb2.GuestSpan(name="handler", start_unix_ns=1, end_unix_ns=2, span_id="0" * 16)],
        ),
    )
    fake.answers(
        "ListContainers",
        guest_pb2.ListContainersRequest,
        guest_pb2.ListContainersResponse(
            containers=[guest_pb2.ListContainersResponse.Container(container="c-1", is_loaded=True, label=b"label")]
        ),
    )
    async with fake.listening(), channel_to(fake) as (channel, _):
        guest = Guest(channel)
        assert await guest.load_code("c-1", code) == Loaded(Failure(2, "ValueError", "bad", ("a", "b")))
        result = await guest.invoke(invocation)
        assert await guest.list_containers() == [GuestContainer("c-1", True, b"label")]
    assert (result.payload, result.failure, result.run_ns, result.spans[0].name) == (b"1", None, 7, "handler")
    loaded, invoked, _listed = fake.requests
    assert (loaded.share, loaded.path, loaded.handler, dict(loaded.environment)) == (
        "code",
        "ab" * 32,
        "main.handler",
        {"A": "1"},
    )
    assert (loaded.identity.tenant, loaded.identity.version, loaded.label) == ("acme", 3, b"label")
    assert (invoked.invocation_id, invoked.timeout_ms, invoked.max_response_bytes) == ("i-1", 2000, 1024)
