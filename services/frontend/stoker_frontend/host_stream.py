"""The stream to one host, which carries all invocations there."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import grpc
import grpc.aio
import structlog
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_service.metadata import HOLDER

from stoker_frontend import errors
from stoker_frontend.runs import Expired, Finished, Lost, NothingRan, Order, Outcome
from stoker_frontend.wire import failure_from_proto

log = structlog.get_logger()

MAX_UNSENT = 1024
MAX_UNSENT_BYTES = 64 * 1024 * 1024
CONNECT_AGAIN_S = 0.2
"""How long after the stream has broken it is opened again, in seconds, at the least; half as much more by chance."""

_Stream: TypeAlias = "grpc.aio.StreamStreamCall[hostagent_pb2.ConnectRequest, hostagent_pb2.ConnectResponse]"


class Call:
    """One run on its way."""

    __slots__ = ("_call_id", "_stream", "ended")

    def __init__(self, stream: "HostStream", call_id: int, ended: "asyncio.Future[Outcome]") -> None:
        self._stream = stream
        self._call_id = call_id
        self.ended = ended

    def stop(self) -> bool:
        """Stops the run, whose outcome nobody wants any more; returns whether the order had left for the host."""
        return self._stream.stop(self._call_id)

    def expire(self) -> None:
        """Stops the run and lets it end as `Expired`."""
        if not self.ended.done():
            self.ended.set_result(Expired(self.stop()))


class HostStream:
    """One host's stream. It is opened again whenever it breaks, until the host is no longer used.

    What had left for the host when the stream breaks is lost, as it may have run; what had not is `NothingRan`.
    """

    def __init__(
        self,
        host: str,
        address: str,
        channel: grpc.aio.Channel,
        holder: str,
        connect_s: float,
        broke: Callable[[], None],
    ) -> None:
        """Begins unconnected; `run` connects.

        Args:
            host: The host's id.
            address: Where its agent answers.
            channel: The channel there.
            holder: This frontend's id as a holder of leases.
            connect_s: How long connecting may take, in seconds.
            broke: Called when the stream has broken, so that the leases there are gone.
        """
        self.host = host
        self._address = address
        self._connection = channel
        self._agent = hostagent_pb2_grpc.InvocationServiceStub(channel)
        self._holder = holder
        self._connect_s = connect_s
        self._broke = broke
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Outcome]] = {}
        # With the size of each payload, which is copied when it is looked at in the message.
        self._unsent: dict[int, tuple[hostagent_pb2.ConnectRequest, int]] = {}
        self._unsent_bytes = 0
        self._to_cancel: deque[int] = deque()
        self._has_unsent = asyncio.Event()
        self.used_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether any run has not ended."""
        return bool(self._calls)

    def start(self, order: Order) -> Call:
        """Sends an order.

        Raises:
            StokerError: HOST_BUSY; nothing was sent.
        """
        if len(self._unsent) >= MAX_UNSENT or self._unsent_bytes >= MAX_UNSENT_BYTES:
            raise errors.host_busy(self.host)
        loop = asyncio.get_running_loop()
        self.used_s = loop.time()
        call_id = next(self._ids)
        ended: asyncio.Future[Outcome] = loop.create_future()
        self._calls[call_id] = ended
        self._unsent[call_id] = (_start(call_id, order), len(order.payload))
        self._unsent_bytes += len(order.payload)
        self._has_unsent.set()
        return Call(self, call_id, ended)

    def stop(self, call_id: int) -> bool:
        """Stops a run that has not ended; returns whether its order had left for the host."""
        if self._calls.pop(call_id, None) is None:
            return False
        if call_id in self._unsent:
            self._take_unsent(call_id)
            return False
        self._to_cancel.append(call_id)
        self._has_unsent.set()
        return True

    async def run(self) -> None:
        """Keeps the stream open until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._connect_s):
                    await self._connection.channel_ready()
            except TimeoutError:
                self._fail_all(f"host {self.host} cannot be reached")
            else:
                log.info("host.connected", host=self.host, address=self._address)
                why = await self._converse()
                self._fail_all(f"the stream to host {self.host} broke: {why}")
            await asyncio.sleep(CONNECT_AGAIN_S * random.uniform(1, 1.5))  # noqa: S311 - spreads frontends in time

    async def _converse(self) -> str:
        """Sends and receives until the stream breaks; returns why it did."""
        stream = self._agent.Connect(metadata=((HOLDER, self._holder),), wait_for_ready=True)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send(stream))
            try:
                return await self._receive(stream)
            finally:
                sending.cancel()
                stream.cancel()

    async def _send(self, stream: _Stream) -> None:
        try:
            while True:
                await self._has_unsent.wait()
                while self._unsent or self._to_cancel:
                    await stream.write(self._next_to_send())
                self._has_unsent.clear()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream is broken, which the receiving side finds out with the reason.
            stream.cancel()

    def _next_to_send(self) -> hostagent_pb2.ConnectRequest:
        if self._to_cancel:
            return hostagent_pb2.ConnectRequest(call_id=self._to_cancel.popleft(), cancel=hostagent_pb2.Cancel())
        return self._take_unsent(next(iter(self._unsent)))

    def _take_unsent(self, call_id: int) -> hostagent_pb2.ConnectRequest:
        request, payload_bytes = self._unsent.pop(call_id)
        self._unsent_bytes -= payload_bytes
        return request

    async def _receive(self, stream: _Stream) -> str:
        try:
            async for response in stream:
                if response is None:  # pyright: ignore[reportUnnecessaryComparison] - so grpc.aio gives what it cannot decode
                    return "the host sent something that is no ConnectResponse"
                ended = self._calls.pop(response.call_id, None)
                if ended is not None and not ended.done():
                    ended.set_result(_outcome(response))
        except grpc.aio.AioRpcError as failure:
            return failure.details() or failure.code().name
        except asyncio.CancelledError:
            if stream.cancelled() and not _is_cancelling():
                return "it could not be written to"
            raise
        return "the host ended it"

    def _fail_all(self, message: str) -> None:
        log.warning("host.lost", host=self.host, running=len(self._calls), message=message)
        # First the leases, so that whoever is told goes on with others.
        self._broke()
        calls, unsent = self._calls, self._unsent
        self._calls, self._unsent, self._unsent_bytes = {}, {}, 0
        self._to_cancel.clear()
        for call_id, ended in calls.items():
            if not ended.done():
                ended.set_result(NothingRan(message) if call_id in unsent else Lost(message))


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _start(call_id: int, order: Order) -> hostagent_pb2.ConnectRequest:
    return hostagent_pb2.ConnectRequest(
        call_id=call_id,
        start=hostagent_pb2.Start(
            lease_id=order.lease_id,
            container=order.container,
            invocation_id=order.invocation_id,
            timeout_ms=order.timeout_ms,
            payload=order.payload,
            content_type=order.content_type,
            log_tail=order.log_tail,
            traceparent=order.traceparent,
        ),
    )


def _outcome(response: hostagent_pb2.ConnectResponse) -> Outcome:
    if response.HasField("failed"):
        failed = response.failed
        return NothingRan(failed.reason) if failed.reason == "LEASE_STALE" else Lost(failed.message)
    finished = response.finished
    return Finished(
        finished.payload,
        finished.content_type,
        failure_from_proto(finished.function_error) if finished.HasField("function_error") else None,
        finished.run_ms,
        finished.log_tail,
        finished.container_lost,
    )
