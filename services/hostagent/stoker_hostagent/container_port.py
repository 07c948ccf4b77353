"""One container's own port: invocations go to its runtime, and answers come back, without the guest agent.

The other end is the function's process and can send whatever it likes, so all is bounded and checked here.
`guest/runtimes/README.md` describes the protocol.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, cast

from stoker_hostagent.guest_messages import Invocation

_SIZES = struct.Struct(">II")
READ_BYTES = 256 * 1024
MAX_HEADER_BYTES = 4096
CONTENT_TYPES = ("application/json", "application/octet-stream")
MAX_NS = 2**62
PROMPT_S = 0.1
"""How long the guest agent is left out, in seconds, before it is asked how an invocation goes on."""


class PortLost(Exception):
    """Nothing more comes by this port."""


class PortMisused(PortLost):
    """What the process has sent makes no sense."""


@dataclass(slots=True)
class Result:
    """What a handler has returned, where nothing else is to be told of its invocation. Not frozen, which is slow."""

    payload: bytes
    content_type: str
    started_unix_ns: int
    run_ns: int


Heard: TypeAlias = Result | None
"""None where the rest is to be asked of the guest agent."""


class ContainerPort:
    """The host's end. It carries one invocation at a time."""

    def __init__(self, path: Path, *, is_used: bool = False) -> None:
        """Connects.

        Args:
            path: The UNIX socket where QEMU ends the port.
            is_used: Whether the runtime may still answer what an earlier host agent has sent.

        Raises:
            OSError: Nobody listens there.
        """
        self._loop = asyncio.get_running_loop()
        self._may_be_late = is_used
        self._received = b""
        self._unsent = b""
        self._id = ""
        self._max_bytes = 0
        self._heard: asyncio.Future[Heard] | None = None
        self._late: asyncio.Future[Result] | None = None
        self._expects_hand_over = False
        self._lost: PortLost | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.setblocking(False)
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._read)

    async def send(self, invocation: Invocation, traceparent: str) -> Heard:
        """Sends an invocation, and waits for the first that is to be done about it.

        Whoever calls it calls `forget` in the end.

        Raises:
            PortLost: Whether it runs is not known.
        """
        self._check()
        self._id, self._max_bytes = invocation.id, invocation.max_response_bytes
        self._expects_hand_over = True
        heard = self._heard = self._loop.create_future()
        self._late = None
        self._write(_frame(invocation, traceparent))
        waited = self._loop.call_later(min(PROMPT_S, invocation.timeout_ms / 1000), self.look_at_agent)
        try:
            return await heard
        finally:
            waited.cancel()

    async def late_result(self) -> Result:
        """Waits for what was sent last to be answered here after all; for ever where it is not.

        Raises:
            PortLost: It will not be.
        """
        self._check()
        if self._late is None:
            self._late = self._loop.create_future()
        return await self._late

    def forget(self) -> None:
        """Says that what was sent last is over."""
        self._heard = self._late = None

    def look_at_agent(self) -> bool:
        """Has whoever waits for an answer ask the guest agent; returns whether an invocation is under way."""
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)
        return self._heard is not None

    def close(self, why: str = "the container is gone") -> None:
        """Ends it."""
        self._end(PortLost(why))

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _end(self, lost: PortLost) -> None:
        if self._lost is not None:
            return
        self._lost = lost
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for awaited in (self._heard, self._late):
            if awaited is not None and not awaited.done():
                awaited.set_exception(lost)

    def _write(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close(str(error))
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._socket, self._write_rest)

    def _write_rest(self) -> None:
        self._loop.remove_writer(self._socket)
        self._write(self._unsent)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(str(error))
            return
        if not data:
            self.close("the VM has ended")
            return
        self._received = self._received + data if self._received else data
        try:
            while (message := self._next()) is not None:
                self._take(*message)
        except PortMisused as misused:
            self._end(misused)

    def _next(self) -> tuple[bytes, bytes] | None:
        """The first message in what has been received; None while it is not whole."""
        received = self._received
        if len(received) < _SIZES.size:
            return None
        header_size, body_size = _SIZES.unpack_from(received)
        if header_size > MAX_HEADER_BYTES:
            raise PortMisused(f"a header of {header_size} bytes")
        if body_size > self._max_bytes and not self._may_be_late:
            raise PortMisused(f"a body of {body_size} bytes")
        begin, end = _SIZES.size + header_size, _SIZES.size + header_size + body_size
        if len(received) < end:
            return None
        self._received = received[end:]
        return received[_SIZES.size : begin], received[begin:end]

    def _take(self, header: bytes, body: bytes) -> None:
        told = _parse(header)
        match told.get("type"):
            case "result" if told.get("invocation_id") == self._id:
                self._may_be_late = False
                self._take_result(_result(told, body))
            case "result" if self._may_be_late:
                return
            case "agent" if self._expects_hand_over or self._may_be_late:
                self._expects_hand_over = False
                self.look_at_agent()
            case _:
                raise PortMisused("an answer to no invocation")

    def _take_result(self, result: Result) -> None:
        if self._heard is None:
            raise PortMisused("an answer to no invocation")
        if not self._heard.done():
            self._heard.set_result(result)
        elif self._late is None:
            self._late = self._loop.create_future()
            self._late.set_result(result)
        elif not self._late.done():
            self._late.set_result(result)


def _frame(invocation: Invocation, traceparent: str) -> bytes:
    """What the runtime is told. Its header is put together by hand, since that takes a tenth of the time."""
    header = (
        f'{{"type":"invoke","invocation_id":{quoted(invocation.id)},"content_type":{quoted(invocation.content_type)},'
        f'"timeout_ms":{invocation.timeout_ms},"traceparent":{quoted(traceparent)},'
        f'"max_response_bytes":{invocation.max_response_bytes}}}'
    ).encode()
    return _SIZES.pack(len(header), len(invocation.payload)) + header + invocation.payload


def _parse(header: bytes) -> dict[str, Any]:
    try:
        told = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise PortMisused("a header that is not JSON") from error
    if not isinstance(told, dict):
        raise PortMisused("a header that is no object")
    return cast("dict[str, Any]", told)


def _result(told: Mapping[str, Any], body: bytes) -> Result:
    content_type, started_unix_ns, run_ns = (told.get(each) for each in ("content_type", "started_unix_ns", "run_ns"))
    if content_type not in CONTENT_TYPES:
        raise PortMisused("a result without a known content type")
    if not (_is_time(started_unix_ns) and _is_time(run_ns)):
        raise PortMisused("a result without times")
    return Result(body, content_type, started_unix_ns, run_ns)


def _is_time(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_NS
