"""The services that the host agent answers: translate, call, translate back."""

import functools
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_protos.v1 import logs_pb2
from stoker_service.background import Background
from stoker_service.errors import StokerError
from stoker_service.metadata import HOLDER, Context, metadata_value

from stoker_hostagent.calls import Calls
from stoker_hostagent.frontend_streams import FrontendStream, FrontendStreams
from stoker_hostagent.log_segments import LogLine
from stoker_hostagent.log_store import LogStore
from stoker_hostagent.wire import order_from_proto, outcome_to_proto

log = structlog.get_logger()


class InvocationServicer(hostagent_pb2_grpc.InvocationServiceServicer):
    """Serves `stoker.hostagent.v1.InvocationService`."""

    def __init__(self, streams: FrontendStreams, background: Background) -> None:
        self._streams = streams
        self._background = background

    async def Connect(
        self, request_iterator: AsyncIterator[hostagent_pb2.ConnectRequest], context: Context
    ) -> AsyncIterator[hostagent_pb2.ConnectResponse]:
        """Carries one frontend's invocations."""
        stream = self._streams.open(metadata_value(context, HOLDER))
        # A call that breaks between two answers leaves the end of this generator to the garbage collector.
        on_done: Any = context.add_done_callback  # its stub wants an object of another class
        on_done(functools.partial(self._close, stream))
        reading = self._background.start(_read(request_iterator, stream.calls), f"read orders of {stream.holder}")
        try:
            while answer := await stream.calls.next_answer():
                yield outcome_to_proto(*answer)
            if reading.done() and (error := reading.result()):
                raise error
        finally:
            reading.cancel()
            self._streams.close(stream)

    def _close(self, stream: FrontendStream, _context: Context) -> None:
        self._streams.close(stream)


async def _read(requests: AsyncIterator[hostagent_pb2.ConnectRequest], calls: Calls) -> StokerError | None:
    """Takes what a frontend says until it says no more; returns what was wrong with that."""
    try:
        async for request in requests:
            if request.HasField("start"):
                calls.start(request.call_id, order_from_proto(request.start))
            else:
                calls.cancel(request.call_id)
            await calls.wait_for_room()
    except StokerError as error:
        return error
    except grpc.aio.BaseError as error:
        log.debug("frontend.unreadable", message=str(error))
    finally:
        calls.end_orders()
    return None


class HostLogServicer(hostagent_pb2_grpc.HostLogServiceServicer):
    """Serves `stoker.hostagent.v1.HostLogService`."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs

    async def ReadLogs(
        self, request: hostagent_pb2.ReadLogsRequest, context: Context
    ) -> AsyncIterator[hostagent_pb2.ReadLogsResponse]:
        """Streams a function's lines."""
        reading = self._logs.read(request.tenant, request.function, limit=request.limit, follow=request.follow)
        async with aclosing(reading) as lines:
            async for line in lines:
                yield hostagent_pb2.ReadLogsResponse(entry=_log_entry(line))


def _log_entry(line: LogLine) -> logs_pb2.LogEntry:
    time = Timestamp()
    time.FromNanoseconds(line.time_ns)
    return logs_pb2.LogEntry(
        time=time,
        version=line.version,
        invocation_id=line.invocation_id,
        container=line.container,
        stream=line.stream,
        line=line.line,
    )
