"""A host agent, as the frontend sees it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import HOLDER, Context, metadata_value

from tests.frontend.peers import Journal

Outcome = hostagent_pb2.Finished | hostagent_pb2.Failed
Run = Callable[[hostagent_pb2.Start], Awaitable[Outcome]]


async def echo(start: hostagent_pb2.Start) -> Outcome:
    """Answers with the event."""
    return hostagent_pb2.Finished(payload=start.payload, content_type="application/json", run_ms=0.25)


async def for_ever(_start: hostagent_pb2.Start) -> Outcome:
    """Does not answer before it is stopped."""
    await asyncio.Event().wait()
    raise AssertionError("nothing ends this wait")


class HostPeer(hostagent_pb2_grpc.InvocationServiceServicer, hostagent_pb2_grpc.HostLogServiceServicer):
    """Runs invocations as `run` does, each in a task of its own, and stops those that are cancelled."""

    def __init__(self) -> None:
        self.run: Run = echo
        self.started: list[hostagent_pb2.Start] = []
        self.stopped: list[str] = []
        self.holders: list[str] = []
        self.logs: list[hostagent_pb2.ReadLogsResponse] = []
        self.log_followers: set[asyncio.Queue[hostagent_pb2.ReadLogsResponse]] = set()
        self.log_requests: list[hostagent_pb2.ReadLogsRequest] = []
        self.journal = Journal()
        self._broken = asyncio.Event()

    def break_streams(self) -> None:
        """Ends all streams in the midst of whatever runs."""
        self._broken.set()
        self._broken = asyncio.Event()

    async def Connect(  # pyright: ignore[reportIncompatibleMethodOverride] - grpc.aio also takes a coroutine that writes
        self, request_iterator: AsyncIterator[hostagent_pb2.ConnectRequest], context: Context
    ) -> None:
        self.holders.append(metadata_value(context, HOLDER))
        broken = self._broken
        answers: asyncio.Queue[hostagent_pb2.ConnectResponse] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(self._take(request_iterator, answers, group)),
                group.create_task(_write_all(answers, context)),
            ]
            await broken.wait()
            for task in working:
                task.cancel()
        raise StokerError(ErrorKind.UNAVAILABLE, "BROKEN", "the test breaks the stream")

    async def _take(
        self,
        requests: AsyncIterator[hostagent_pb2.ConnectRequest],
        answers: "asyncio.Queue[hostagent_pb2.ConnectResponse]",
        group: asyncio.TaskGroup,
    ) -> None:
        running: dict[int, asyncio.Task[None]] = {}
        try:
            async for request in requests:
                if request.HasField("start"):
                    self.started.append(request.start)
                    task = running[request.call_id] = group.create_task(self._run(request, answers))
                    task.add_done_callback(lambda _, call_id=request.call_id: running.pop(call_id, None))
                elif task := running.get(request.call_id):
                    task.cancel()
                self.journal.changed()
        finally:
            for task in list(running.values()):
                task.cancel()

    async def _run(
        self, request: hostagent_pb2.ConnectRequest, answers: "asyncio.Queue[hostagent_pb2.ConnectResponse]"
    ) -> None:
        try:
            outcome = await self.run(request.start)
        except asyncio.CancelledError:
            self.stopped.append(request.start.invocation_id)
            self.journal.changed()
            raise
        answer = hostagent_pb2.ConnectResponse(call_id=request.call_id)
        if isinstance(outcome, hostagent_pb2.Finished):
            answer.finished.CopyFrom(outcome)
        else:
            answer.failed.CopyFrom(outcome)
        answers.put_nowait(answer)

    async def ReadLogs(
        self, request: hostagent_pb2.ReadLogsRequest, context: Context
    ) -> AsyncIterator[hostagent_pb2.ReadLogsResponse]:
        self.log_requests.append(request)
        new: asyncio.Queue[hostagent_pb2.ReadLogsResponse] = asyncio.Queue()
        if request.follow:
            self.log_followers.add(new)
        try:
            for line in self.logs[-request.limit :]:
                yield line
            self.journal.changed()
            while request.follow:
                yield await new.get()
        finally:
            self.log_followers.discard(new)

    def print_line(self, line: hostagent_pb2.ReadLogsResponse) -> None:
        """Keeps a line, and shows it to those who follow."""
        self.logs.append(line)
        for follower in self.log_followers:
            follower.put_nowait(line)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its services to a server."""
        hostagent_pb2_grpc.add_InvocationServiceServicer_to_server(self, server)
        hostagent_pb2_grpc.add_HostLogServiceServicer_to_server(self, server)


async def _write_all(answers: "asyncio.Queue[hostagent_pb2.ConnectResponse]", context: Context) -> None:
    while True:
        await context.write(await answers.get())
