"""The streams of the hosts: reports come in, commands go out, and results find the commands they belong to."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_service.background import Background
from stoker_service.errors import StokerError
from stoker_service.telemetry import traceparent

from stoker_scheduler import errors
from stoker_scheduler.commands import Command, CommandFailed, Done, LoadFailure, host_lost, subject_of
from stoker_scheduler.reports import Report, Snapshot, subject_of_report
from stoker_scheduler.wire import command_to_proto, report_from_proto, result_from_proto, snapshot_from_proto

log = structlog.get_logger()

MAX_COMMANDS = 256
"""How many commands a host may have under way; more wait, within the time that each has."""
FIRST_REPORT_S = 10.0
"""How long a host may take to send its snapshot, in seconds."""


class HostListener(Protocol):
    """Who is told of hosts."""

    def host_joined(self, snapshot: Snapshot, now_s: float) -> None:
        """A host that was not there is."""
        ...

    def host_lost(self, host: str, now_s: float) -> None:
        """A host is not there any more."""
        ...

    def reported(self, host: str, report: Report, now_s: float, *, is_commanded: bool) -> None:
        """Something on a host has changed."""
        ...


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class _Stream:
    """One host's stream, for as long as it counts."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.error: Exception | None = None
        self._outbox: asyncio.Queue[hosts_pb2.ConnectResponse | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(MAX_COMMANDS)
        self._turns: dict[str, _Turn] = {}
        self._results: dict[str, asyncio.Future[Done | LoadFailure | CommandFailed]] = {}
        self._has_ended = False

    async def send(self, command_id: str, command: Command) -> Done | LoadFailure | CommandFailed:
        """Sends a command when its turn has come, and waits for its result."""
        subject = subject_of(command)
        turn = self._turns.get(subject) or self._turns.setdefault(subject, _Turn())
        turn.users += 1
        try:
            async with turn.lock, self._slots:
                return await self._send_now(command_id, command)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[subject]

    async def sent(self) -> AsyncGenerator[hosts_pb2.ConnectResponse]:
        """What is to go out, until the stream ends."""
        while (message := await self._outbox.get()) is not None:
            yield message

    def is_commanded(self, subject: str) -> bool:
        """Whether a command about a VM or container is under way, or waits for its turn."""
        return subject in self._turns

    def take_result(self, message: hosts_pb2.CommandResult) -> None:
        """Takes in a result; one that comes too late is nobody's."""
        result = self._results.get(message.command_id)
        if result is not None and not result.done():
            result.set_result(result_from_proto(message))

    def end(self, error: Exception | None = None) -> None:
        """Ends the stream, and all commands under way with it."""
        if self._has_ended:
            return
        self._has_ended, self.error = True, error
        self._outbox.put_nowait(None)
        for result in self._results.values():
            if not result.done():
                result.set_result(host_lost(self.host))

    async def _send_now(self, command_id: str, command: Command) -> Done | LoadFailure | CommandFailed:
        if self._has_ended:
            return host_lost(self.host)
        if self._outbox.qsize() >= MAX_COMMANDS:
            return CommandFailed("HOST_BUSY", f"host {self.host} does not take its commands")
        result = self._results[command_id] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait(command_to_proto(command_id, command, traceparent()))
        try:
            return await result
        finally:
            self._results.pop(command_id, None)


class HostStreams:
    """All hosts' streams.

    Commands about one VM or container are sent one after the other, each when the one before has its result.
    """

    def __init__(self, background: Background, clock: Callable[[], float]) -> None:
        """Begins without any.

        Args:
            background: What owns the reading.
            clock: Tells the time that listeners are given.
        """
        self._background = background
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        self._command_ids = itertools.count(1)

    async def order(self, host: str, command: Command, timeout_s: float) -> Done | LoadFailure:
        """Has a host carry out a command.

        Raises:
            CommandFailed: It did not, in the time it had.
        """
        stream = self._streams.get(host)
        if stream is None:
            raise host_lost(host)
        try:
            async with asyncio.timeout(timeout_s):
                result = await stream.send(str(next(self._command_ids)), command)
        except TimeoutError as error:
            message = f"host {host} did not carry out {type(command).__name__} within {timeout_s:g} s"
            raise CommandFailed("COMMAND_TIMEOUT", message) from error
        if isinstance(result, CommandFailed):
            raise result
        return result

    async def serve(
        self, requests: AsyncIterator[hosts_pb2.ConnectRequest], listener: HostListener
    ) -> AsyncGenerator[hosts_pb2.ConnectResponse]:
        """Serves one stream: yields commands until it ends.

        Raises:
            StokerError: SNAPSHOT_MISSING, STREAM_REPLACED, STOPPING.
        """
        snapshot = await _snapshot(requests)
        host = snapshot.host.id
        stream = _Stream(host)
        if replaced := self._streams.get(host):
            self._end(replaced, listener, errors.stream_replaced(host))
        self._streams[host] = stream
        listener.host_joined(snapshot, self._clock())
        reading = self._background.start(self._read(stream, requests, listener), f"reports of {host}")
        try:
            async for message in stream.sent():
                yield message
        finally:
            reading.cancel()
            self._end(stream, listener)
        if stream.error is not None:
            raise stream.error

    def close(self) -> None:
        """Ends all streams."""
        for stream in self._streams.values():
            stream.end(errors.stopping())

    async def _read(
        self, stream: _Stream, requests: AsyncIterator[hosts_pb2.ConnectRequest], listener: HostListener
    ) -> None:
        try:
            async for request in requests:
                if self._streams.get(stream.host) is stream:
                    self._take_in(stream, request, listener)
            stream.end()
        except Exception as error:  # noqa: BLE001 - raised by the call's handler, where it becomes a status
            stream.end(error)

    def _take_in(self, stream: _Stream, request: hosts_pb2.ConnectRequest, listener: HostListener) -> None:
        match request.WhichOneof("report"):
            case "snapshot":
                raise errors.snapshot_missing()
            case "result":
                stream.take_result(request.result)
            case _:
                if report := report_from_proto(request):
                    is_commanded = stream.is_commanded(subject_of_report(report))
                    listener.reported(stream.host, report, self._clock(), is_commanded=is_commanded)

    def _end(self, stream: _Stream, listener: HostListener, error: StokerError | None = None) -> None:
        stream.end(error)
        if self._streams.get(stream.host) is stream:
            del self._streams[stream.host]
            listener.host_lost(stream.host, self._clock())


async def _snapshot(requests: AsyncIterator[hosts_pb2.ConnectRequest]) -> Snapshot:
    try:
        async with asyncio.timeout(FIRST_REPORT_S):
            first = await anext(requests, None)
    except TimeoutError as error:
        raise errors.snapshot_missing() from error
    if first is None or first.WhichOneof("report") != "snapshot":
        raise errors.snapshot_missing()
    return snapshot_from_proto(first.snapshot)
