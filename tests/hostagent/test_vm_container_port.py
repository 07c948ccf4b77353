"""A container's own port: what the host makes of what a runtime, or a hostile process, sends by it."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from stoker_hostagent.container_port import ContainerPort, PortLost, PortMisused, Result
from stoker_hostagent.guest_messages import Invocation
from stoker_hostagent.guest_ports import GuestPorts

SIZES = struct.Struct(">II")
RESULT = {
    "type": "result",
    "invocation_id": "i-1",
    "content_type": "application/json",
    "started_unix_ns": 5,
    "run_ns": 7,
}
LIMIT_BYTES = 1000


def invocation(id: str = "i-1", payload: bytes = b"{}", timeout_ms: int = 60_000) -> Invocation:
    return Invocation("c-1", id, payload, 'text/"plain"', timeout_ms, "", LIMIT_BYTES)


class Runtime:
    """The other end, where a process reads and writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self.reader = asyncio.StreamReader()
        self.writer: asyncio.StreamWriter | None = None

    async def listen(self) -> None:
        """Lets hosts connect."""

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._streams.put_nowait((reader, writer))

        self._server = await asyncio.start_unix_server(take, self.path)

    async def connected(self) -> None:
        """Waits for a host."""
        self.reader, self.writer = await self._streams.get()

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        """Waits for an invocation."""
        header_size, body_size = SIZES.unpack(await self.reader.readexactly(SIZES.size))
        return json.loads(await self.reader.readexactly(header_size)), await self.reader.readexactly(body_size)

    def send(self, header: Any, body: bytes = b"") -> None:
        """Sends a message."""
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        assert self.writer is not None
        self.writer.write(SIZES.pack(len(text), len(body)) + text + body)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        assert self._server is not None
        self._server.close()


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    """A port that somebody listens on."""
    made = Runtime(tmp_path / "vm.p1")
    await made.listen()
    yield made
    made.close()


@pytest.fixture
async def port(runtime: Runtime) -> AsyncIterator[ContainerPort]:
    """The host's end."""
    made = ContainerPort(runtime.path)
    await runtime.connected()
    yield made
    made.close()


async def test_an_invocation_goes_out_and_its_result_comes_back(runtime: Runtime, port: ContainerPort) -> None:
    sending = asyncio.create_task(port.send(invocation(), "00-trace"))
    header, body = await runtime.receive()
    assert header == {
        "type": "invoke",
        "invocation_id": "i-1",
        "content_type": 'text/"plain"',
        "timeout_ms": 60_000,
        "traceparent": "00-trace",
        "max_response_bytes": LIMIT_BYTES,
    }
    assert body == b"{}"
    runtime.send(RESULT, b"[1]")
    assert await sending == Result(b"[1]", "application/json", 5, 7)


async def test_a_long_event_is_sent_as_the_runtime_reads(runtime: Runtime, port: ContainerPort) -> None:
    payload = b"x" * 6_000_000
    sending = asyncio.create_task(port.send(invocation(payload=payload), ""))
    assert (await runtime.receive())[1] == payload
    runtime.send(RESULT, b"1")
    assert await sending


@pytest.mark.parametrize("is_told", [True, False])
async def test_the_agent_is_asked_when_the_runtime_says_so_and_when_it_says_nothing(
    runtime: Runtime, port: ContainerPort, is_told: bool
) -> None:
    sending = asyncio.create_task(port.send(invocation(), ""))
    await runtime.receive()
    if is_told:
        runtime.send({"type": "agent"})
    async with asyncio.timeout(5):
        assert await sending is None


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_runtime_may_answer_late(runtime: Runtime, port: ContainerPort, is_awaited: bool) -> None:
    assert await port.send(invocation(), "") is None
    late = asyncio.create_task(port.late_result()) if is_awaited else None
    await asyncio.sleep(0)
    runtime.send(RESULT, b"2")
    async with asyncio.timeout(5):
        assert (await (late or port.late_result())).payload == b"2"
    port.forget()
    sending = asyncio.create_task(port.send(invocation("i-2"), ""))
    await runtime.receive()
    await runtime.receive()
    runtime.send({**RESULT, "invocation_id": "i-2"}, b"3")
    assert await sending == Result(b"3", "application/json", 5, 7)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (RESULT, LIMIT_BYTES + 1),
        ({**RESULT, "invocation_id": "i-0"}, 2),
        ({**RESULT, "content_type": "text/html"}, 2),
        ({**RESULT, "run_ns": "1"}, 2),
        ({**RESULT, "run_ns": -1}, 2),
        ({**RESULT, "started_unix_ns": 2**80}, 2),
        ({"type": "other"}, 0),
        (b"no JSON", 0),
        (b"[]", 0),
        (b"[" * 4000, 0),
        (b"x" * 5000, 0),
    ],
)
async def test_nonsense_ends_the_port(runtime: Runtime, port: ContainerPort, header: Any, size: int) -> None:
    sending = asyncio.create_task(port.send(invocation(), ""))
    await runtime.receive()
    runtime.send(header, bytes(size))
    with pytest.raises(PortMisused):
        await sending
    with pytest.raises(PortMisused):
        await port.send(invocation("i-2"), "")


async def test_what_nobody_has_asked_for_ends_the_port(runtime: Runtime, port: ContainerPort) -> None:
    sending = asyncio.create_task(port.send(invocation(), ""))
    await runtime.receive()
    runtime.send(RESULT, b"1")
    await sending
    port.forget()
    runtime.send(RESULT, b"1")
    async with asyncio.timeout(5):
        assert await runtime.reader.read() == b""
    with pytest.raises(PortMisused):
        await port.send(invocation("i-2"), "")


async def test_what_an_earlier_host_agent_asked_for_is_thrown_away(runtime: Runtime) -> None:
    port = ContainerPort(runtime.path, is_used=True)
    await runtime.connected()
    runtime.send({**RESULT, "invocation_id": "i-0"}, bytes(10 * LIMIT_BYTES))
    sending = asyncio.create_task(port.send(invocation(), ""))
    await runtime.receive()
    runtime.send(RESULT, b"1")
    assert await sending == Result(b"1", "application/json", 5, 7)
    port.close()


async def test_the_end_of_the_vm_ends_what_runs(runtime: Runtime, port: ContainerPort) -> None:
    sending = asyncio.create_task(port.send(invocation(), ""))
    await runtime.receive()
    runtime.close()
    with pytest.raises(PortLost):
        await sending


async def test_a_port_is_one_containers_until_it_is_gone(runtime: Runtime, tmp_path: Path) -> None:
    ports = GuestPorts([runtime.path])
    assert ports.open("c-1") == 1
    assert ports.find("c-1") is not None
    assert ports.open("c-2") == 0
    assert ports.find("c-2") is None
    ports.close("c-1")
    assert ports.open("c-2") == 1
    assert ports.adopt("c-2", 1)
    assert not ports.adopt("c-3", 1)
    ports.close("c-2")
    assert ports.adopt("c-3", 1)
    ports.close_all()
    with pytest.raises(PortLost):
        await ports.find("c-3").send(invocation(), "")  # type: ignore[union-attr]


def test_a_container_of_a_vm_that_has_no_ports_gets_none(tmp_path: Path) -> None:
    assert GuestPorts([]).open("c-1") == 0
    assert not GuestPorts([]).adopt("c-1", 1)


async def test_a_port_where_nobody_listens_is_not_used(tmp_path: Path) -> None:
    ports = GuestPorts([tmp_path / "nobody"])
    assert ports.open("c-1") == 0
    assert ports.find("c-1") is None
