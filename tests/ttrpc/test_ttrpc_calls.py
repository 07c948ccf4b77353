"""Calls between a real client and a real server over a socket pair, and what happens when either goes wrong."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest
from stoker_protos.guest.v1 import guest_pb2
from stoker_protos.guest.v1.transport_pb2 import TransportRequest, TransportResponse
from stoker_ttrpc.client import Client
from stoker_ttrpc.errors import Code, ConnectionLost, RpcError
from stoker_ttrpc.frames import MAGIC, Flags, Frame, FrameType
from stoker_ttrpc.server import Server, StreamMethod, UnaryMethod

SERVICE = "test.Service"
Echo = guest_pb2.InvokeRequest
PREAMBLE = MAGIC + bytes(16)


@dataclass
class Served:
    """What the server's handlers have seen."""

    cancelled: list[str] = field(default_factory=lambda: list[str]())
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def echo(self, request: Echo) -> Echo:
        return request

    async def size(self, request: Echo) -> Echo:
        return Echo(timeout_ms=len(request.payload))

    async def hang(self, request: Echo) -> Echo:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.container)
            raise
        finally:
            self.ended.set()
        return request

    async def refuse(self, request: Echo) -> Echo:
        raise RpcError(Code.NOT_FOUND, f"no container {request.container}")

    async def break_down(self, _: Echo) -> Echo:
        raise ZeroDivisionError("by zero")

    async def count(self, request: Echo) -> AsyncGenerator[Echo]:
        try:
            for number in range(request.timeout_ms):
                yield Echo(timeout_ms=number, payload=request.payload)
            if request.container == "fail":
                raise RpcError(Code.FAILED_PRECONDITION, "no more")
            if request.container == "hang":
                self.begun.set()
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    def server(self, **limits: float) -> Server:
        unary = {
            "Echo": self.echo,
            "Size": self.size,
            "Hang": self.hang,
            "Refuse": self.refuse,
            "BreakDown": self.break_down,
        }
        methods = {name: UnaryMethod(Echo, answer) for name, answer in unary.items()}
        return Server(
            {SERVICE: {**methods, "Count": StreamMethod(Echo, self.count)}},
            TransportRequest,
            TransportResponse,
            **limits,  # pyright: ignore[reportArgumentType] - both limits are given as numbers
        )


@dataclass(frozen=True)
class Pair:
    """A client and the server it calls."""

    client: Client
    served: Served

    async def call(self, method: str, request: Echo, timeout_s: float = 5) -> Echo:
        return await self.client.call(SERVICE, method, request, Echo, timeout_s)

    def count(self, request: Echo) -> AsyncIterator[Echo]:
        return self.client.stream(SERVICE, "Count", request, Echo)


Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def streams() -> AsyncGenerator[tuple[Stream, Stream]]:
    """Both ends of a connection."""
    left, right = socket.socketpair()
    ends = (await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right))
    try:
        yield ends
    finally:
        for _, writer in ends:
            writer.transport.abort()
        for _, writer in ends:
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(served: Served, **limits: float) -> AsyncGenerator[Stream]:
    """Runs a server, and gives the other end of its connection."""
    async with streams() as (near, far), asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(served.server(**limits).serve(*far))
        try:
            yield near
        finally:
            near[1].transport.abort()


@asynccontextmanager
async def connected(**limits: float) -> AsyncGenerator[Pair]:
    """Runs a server and a client on it."""
    served = Served()
    async with serving(served, **limits) as (reader, writer), asyncio.TaskGroup() as group:
        client = Client(reader, writer, TransportRequest, TransportResponse)
        await client.synchronize(5)
        running = group.create_task(client.run())
        yield Pair(client, served)
        running.cancel()


async def test_a_call_is_answered() -> None:
    async with connected() as pair:
        request = Echo(container="c-1", payload=b"\0\xff")
        assert await pair.call("Echo", request) == request


async def test_calls_run_side_by_side_and_each_gets_its_own_answer() -> None:
    async with connected() as pair:
        hanging = asyncio.create_task(pair.call("Hang", Echo()))
        answers = await asyncio.gather(*(pair.call("Echo", Echo(timeout_ms=number)) for number in range(100)))
        assert [answer.timeout_ms for answer in answers] == list(range(100))
        assert not hanging.done()
        hanging.cancel()


async def test_a_failure_reaches_the_caller_with_code_and_message() -> None:
    async with connected() as pair:
        with pytest.raises(RpcError, match="no container c-9") as caught:
            await pair.call("Refuse", Echo(container="c-9"))
        assert caught.value.code == Code.NOT_FOUND


async def test_a_fault_of_the_handler_is_an_internal_error_and_the_connection_lives_on() -> None:
    async with connected() as pair:
        with pytest.raises(RpcError, match="ZeroDivisionError: by zero") as caught:
            await pair.call("BreakDown", Echo())
        assert caught.value.code == Code.INTERNAL
        assert await pair.call("Echo", Echo(timeout_ms=1)) == Echo(timeout_ms=1)


async def test_unknown_methods_and_services_are_unimplemented() -> None:
    async with connected() as pair:
        for service, method in ((SERVICE, "Nothing"), ("test.Other", "Echo")):
            with pytest.raises(RpcError, match=f"{service}/{method}") as caught:
                await pair.client.call(service, method, Echo(), Echo, 5)
            assert caught.value.code == Code.UNIMPLEMENTED


async def test_a_call_that_times_out_is_cancelled_at_the_server() -> None:
    async with connected() as pair:
        with pytest.raises(TimeoutError):
            await pair.call("Hang", Echo(container="slow"), timeout_s=0.05)
        await asyncio.wait_for(pair.served.ended.wait(), 5)
        assert pair.served.cancelled == ["slow"]


async def test_a_call_that_is_cancelled_is_cancelled_at_the_server() -> None:
    async with connected() as pair:
        calling = asyncio.create_task(pair.call("Hang", Echo(container="given-up")))
        await asyncio.wait_for(pair.served.begun.wait(), 5)
        calling.cancel()
        await asyncio.wait_for(pair.served.ended.wait(), 5)
        assert pair.served.cancelled == ["given-up"]


async def test_a_stream_yields_all_and_ends() -> None:
    async with connected() as pair:
        assert [answer.timeout_ms async for answer in pair.count(Echo(timeout_ms=500))] == list(range(500))


async def test_a_stream_that_fails_yields_what_came_before() -> None:
    async with connected() as pair:
        answers = pair.count(Echo(timeout_ms=3, container="fail"))
        assert [(await anext(answers)).timeout_ms for _ in range(3)] == [0, 1, 2]
        with pytest.raises(RpcError, match="no more") as caught:
            await anext(answers)
        assert caught.value.code == Code.FAILED_PRECONDITION


async def test_closing_a_stream_cancels_it_at_the_server() -> None:
    async with connected() as pair:
        stream = pair.client.stream(SERVICE, "Count", Echo(timeout_ms=1, container="hang"), Echo)
        async with aclosing(stream):  # pyright: ignore[reportArgumentType] - it is a generator
            async for _ in stream:
                break
        await asyncio.wait_for(pair.served.ended.wait(), 5)


async def test_a_stream_that_is_not_read_is_lost_alone() -> None:
    async with connected() as pair:
        stream = pair.count(Echo(timeout_ms=3000))
        await anext(stream)
        # While it is not read, others are answered; and that the server ends means that the client took all.
        assert await pair.call("Echo", Echo()) == Echo()
        await asyncio.wait_for(pair.served.ended.wait(), 5)
        with pytest.raises(RpcError, match="more slowly") as caught:
            async for _ in stream:
                pass
        assert caught.value.code == Code.RESOURCE_EXHAUSTED


async def test_six_mebibytes_go_both_ways() -> None:
    async with connected() as pair:
        payload = b"0123456789abcdef" * (6 * 65536)
        assert (await pair.call("Echo", Echo(payload=payload))).payload == payload


async def test_what_fits_no_frame_is_refused_on_either_side_by_size() -> None:
    async with connected() as pair:
        with pytest.raises(RpcError, match="the request has") as caught:
            await pair.call("Size", Echo(payload=bytes(8 * 1024 * 1024)))
        assert caught.value.code == Code.RESOURCE_EXHAUSTED
        assert await pair.call("Echo", Echo()) == Echo()


async def test_small_calls_overtake_large_ones_that_wait() -> None:
    async with connected() as pair:
        order: list[str] = []

        async def call(name: str, size: int) -> None:
            await pair.call("Size", Echo(payload=bytes(size)))
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(call(f"large {number}", 6 * 1024 * 1024))
            await asyncio.sleep(0)
            group.create_task(call("small", 1))
        # Only the large one under way, and at most one whose bytes are with the peer already, may be before it.
        assert order.index("small") <= 2


async def test_large_calls_are_not_starved_by_small_ones() -> None:
    async with connected() as pair:
        is_done = False

        async def chatter() -> None:
            while not is_done:
                await pair.call("Echo", Echo())

        async with asyncio.TaskGroup() as group:
            for _ in range(32):
                group.create_task(chatter())
            answer = await pair.call("Size", Echo(payload=bytes(6 * 1024 * 1024)), timeout_s=10)
            is_done = True
        assert answer.timeout_ms == 6 * 1024 * 1024


async def test_more_calls_than_allowed_are_refused() -> None:
    async with connected(max_calls=2) as pair:
        hanging = [asyncio.create_task(pair.call("Hang", Echo())) for _ in range(2)]
        await asyncio.wait_for(pair.served.begun.wait(), 5)
        with pytest.raises(RpcError, match="2 calls are under way") as caught:
            await pair.call("Echo", Echo())
        assert caught.value.code == Code.RESOURCE_EXHAUSTED
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        await asyncio.wait_for(pair.served.ended.wait(), 5)
        assert await pair.call("Echo", Echo()) == Echo()


async def test_more_bytes_of_requests_than_allowed_are_refused() -> None:
    async with connected(max_request_bytes=1000) as pair:
        with pytest.raises(RpcError, match="requests of 1000 bytes are under way") as caught:
            await pair.call("Echo", Echo(payload=bytes(1001)))
        assert caught.value.code == Code.RESOURCE_EXHAUSTED
        assert (await pair.call("Echo", Echo(payload=bytes(900)))).payload == bytes(900)


async def test_a_call_without_a_connection_fails_at_once() -> None:
    async with streams() as (near, (_, peer)):
        client = Client(*near, TransportRequest, TransportResponse)
        with pytest.raises(ConnectionLost, match="not been synchronized"):
            await client.call(SERVICE, "Echo", Echo(), Echo, 1)
        peer.close()
        with pytest.raises(ConnectionLost):
            await client.synchronize(5)


async def test_synchronizing_with_a_silent_peer_times_out() -> None:
    async with streams() as (near, _):
        with pytest.raises(TimeoutError):
            await Client(*near, TransportRequest, TransportResponse).synchronize(0.05)


@asynccontextmanager
async def posing(stall_s: float = 5) -> AsyncGenerator[tuple[Client, asyncio.Task[str], Stream]]:
    """A client, its running, and the other end of its connection, where the test poses as the server."""
    async with streams() as (near, (peer_reader, peer)), asyncio.timeout(30), asyncio.TaskGroup() as group:
        client = Client(*near, TransportRequest, TransportResponse, stall_s=stall_s)
        synchronizing = group.create_task(client.synchronize(5))
        peer.write(b"left over from before" + PREAMBLE + b"\0" * 50 + await peer_reader.readexactly(24))
        await synchronizing
        running = group.create_task(client.run())
        yield client, running, (peer_reader, peer)
        running.cancel()


async def test_calls_under_way_fail_when_the_server_vanishes_even_midway_in_a_frame() -> None:
    async with posing() as (client, running, (peer_reader, peer)), asyncio.TaskGroup() as group:
        calling = group.create_task(expect_lost(client))
        await peer_reader.readexactly(10)
        peer.write(Frame(1, FrameType.RESPONSE, Flags.NONE, b"x" * 100).to_bytes()[:50])
        await peer.drain()
        peer.close()
        await calling
        assert "closed" in await running


async def test_a_server_that_stalls_midway_in_a_frame_counts_as_lost() -> None:
    async with posing(stall_s=0.05) as (client, running, (peer_reader, peer)), asyncio.TaskGroup() as group:
        calling = group.create_task(expect_lost(client))
        await peer_reader.readexactly(10)
        peer.write(Frame(1, FrameType.RESPONSE, Flags.NONE, b"x" * 100).to_bytes()[:50])
        await calling
        assert "no progress" in await running


async def test_a_server_that_begins_another_connection_counts_as_lost() -> None:
    async with posing() as (client, running, (peer_reader, peer)), asyncio.TaskGroup() as group:
        calling = group.create_task(expect_lost(client))
        await peer_reader.readexactly(10)
        peer.write(PREAMBLE)
        await calling
        assert "another connection" in await running


async def expect_lost(client: Client) -> None:
    with pytest.raises(ConnectionLost):
        await client.call(SERVICE, "Echo", Echo(), Echo, 5)


@pytest.mark.parametrize("answer", [b"\xff\xff\xff", b"\x12\x05ab", b"\x12\x02\xff\xff"])
async def test_an_answer_that_is_no_message_is_an_error_of_that_call(answer: bytes) -> None:
    async with posing() as (client, running, (peer_reader, peer)), asyncio.TaskGroup() as group:
        calling = group.create_task(expect_refused(client))
        await peer_reader.readexactly(10)
        peer.write(Frame(1, FrameType.RESPONSE, Flags.NONE, answer).to_bytes())
        await calling
        assert not running.done()


async def expect_refused(client: Client) -> None:
    with pytest.raises(RpcError, match="bytes are no") as caught:
        await client.call(SERVICE, "Echo", Echo(), Echo, 5)
    assert caught.value.code == Code.INTERNAL


async def test_the_server_throws_away_what_comes_before_the_preamble() -> None:
    async with serving(Served()) as (reader, writer):
        writer.write(b"console noise" + Frame(1, FrameType.REQUEST).to_bytes() + PREAMBLE)
        assert await reader.readexactly(24) == PREAMBLE
        writer.write(request_frame(1, "Echo", Echo(container="c")))
        assert await read_frame(reader) == (1, FrameType.RESPONSE)


async def test_a_host_that_comes_back_ends_the_calls_of_the_one_before() -> None:
    served = Served()
    async with serving(served) as (reader, writer):
        writer.write(PREAMBLE + request_frame(1, "Hang", Echo(container="old")))
        assert await reader.readexactly(24) == PREAMBLE
        await asyncio.wait_for(served.begun.wait(), 5)
        again = MAGIC + b"2" * 16
        writer.write(again)
        assert await asyncio.wait_for(reader.readexactly(24), 5) == again
        assert served.cancelled == ["old"]


async def test_a_host_that_vanished_midway_in_a_frame_can_come_back_on_the_same_stream() -> None:
    served = Served()
    async with serving(served, stall_s=0.1) as (reader, writer):
        writer.write(PREAMBLE + request_frame(1, "Hang", Echo(container="old")))
        assert await reader.readexactly(24) == PREAMBLE
        await asyncio.wait_for(served.begun.wait(), 5)
        writer.write(Frame(3, FrameType.REQUEST, Flags.NONE, bytes(100_000)).to_bytes()[:70_000])
        # The new host repeats its preamble, which lands inside the frame: that is no progress.
        again = MAGIC + b"2" * 16
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            repeating = group.create_task(repeat(writer, again, 0.02))
            echoed = await reader.readexactly(24)
            repeating.cancel()
        assert echoed == again
        assert served.cancelled == ["old"]


async def repeat(writer: asyncio.StreamWriter, data: bytes, interval_s: float) -> None:
    while True:
        writer.write(data)
        await asyncio.sleep(interval_s)


@pytest.mark.parametrize(
    "broken",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        Frame(1, FrameType.RESPONSE).to_bytes(),
        Frame(1, FrameType.DATA, Flags.NONE, b"x").to_bytes(),
        b"\xff" * 10,
    ],
)
async def test_a_host_that_breaks_the_protocol_must_begin_anew(broken: bytes) -> None:
    served = Served()
    async with serving(served) as (reader, writer):
        writer.write(PREAMBLE + request_frame(5, "Hang", Echo(container="old")))
        assert await reader.readexactly(24) == PREAMBLE
        await asyncio.wait_for(served.begun.wait(), 5)
        writer.write(broken)
        await asyncio.wait_for(served.ended.wait(), 5)
        writer.write(request_frame(7, "Echo", Echo()) + PREAMBLE + request_frame(9, "Echo", Echo()))
        assert await reader.readexactly(24) == PREAMBLE
        assert await read_frame(reader) == (9, FrameType.RESPONSE)


async def test_a_stream_that_is_in_use_cannot_be_used_again() -> None:
    served = Served()
    async with serving(served) as (_, writer):
        writer.write(PREAMBLE + request_frame(1, "Hang", Echo(container="first")))
        await asyncio.wait_for(served.begun.wait(), 5)
        writer.write(request_frame(1, "Echo", Echo()))
        await asyncio.wait_for(served.ended.wait(), 5)
        assert served.cancelled == ["first"]


async def test_requests_that_are_no_messages_are_refused_and_the_connection_lives_on() -> None:
    async with serving(Served()) as (reader, writer):
        writer.write(PREAMBLE)
        assert await reader.readexactly(24) == PREAMBLE
        nonsense = TransportRequest(service=SERVICE, method="Echo", payload=b"\xff\xff").SerializeToString()
        for stream_id, payload in ((1, b"\xff\xff\xff"), (3, nonsense)):
            writer.write(Frame(stream_id, FrameType.REQUEST, Flags.NONE, payload).to_bytes())
            assert await read_frame(reader) == (stream_id, FrameType.RESPONSE)


async def test_a_flood_of_calls_that_nobody_reads_the_answers_of_stops_the_reading() -> None:
    async with serving(Served(), max_calls=4) as (_, writer):
        writer.write(PREAMBLE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(writer), 0.5)


async def flood(writer: asyncio.StreamWriter) -> None:
    """Sends 60 MB of calls, as far as the peer takes them."""
    frame = request_frame(1, "Echo", Echo(payload=bytes(60_000)))
    for stream_id in range(1, 2001, 2):
        writer.write(frame[:4] + stream_id.to_bytes(4, "big") + frame[8:])
        await writer.drain()


def request_frame(stream_id: int, method: str, request: Echo) -> bytes:
    payload = TransportRequest(service=SERVICE, method=method, payload=request.SerializeToString())
    return Frame(stream_id, FrameType.REQUEST, Flags.REMOTE_CLOSED, payload.SerializeToString()).to_bytes()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, FrameType]:
    async with asyncio.timeout(5):
        header = await reader.readexactly(10)
        await reader.readexactly(int.from_bytes(header[:4], "big"))
    return int.from_bytes(header[4:8], "big"), FrameType(header[8])
