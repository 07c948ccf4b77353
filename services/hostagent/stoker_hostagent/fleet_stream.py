"""The stream to the scheduler: reports go there, commands come back. It is opened again for ever when it breaks."""

import asyncio
import random
from collections.abc import Callable
from typing import TypeAlias

import grpc.aio
import structlog
from stoker_protos.scheduler.v1 import hosts_pb2, hosts_pb2_grpc

from stoker_hostagent.reports import Outbox, Reports

log = structlog.get_logger()

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 2.0
REASON_S = 1.0
"""How long the reason is waited for why the stream has broken, in seconds."""

_Stream: TypeAlias = "grpc.aio.StreamStreamCall[hosts_pb2.ConnectRequest, hosts_pb2.ConnectResponse]"


def wait_before(attempt: int) -> float:
    """How long to wait before connecting again, in seconds, after `attempt` short connections in a row."""
    longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 10))
    return longest_s * random.uniform(0.5, 1)  # noqa: S311 - spreads hosts in time


class FleetStream:
    """This host's stream to the scheduler."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        reports: Reports,
        carry_out: Callable[[hosts_pb2.ConnectResponse], None],
    ) -> None:
        """Begins unconnected; `run` connects.

        Args:
            channel: The channel to the scheduler.
            reports: What is reported.
            carry_out: Begins to carry out a command.
        """
        self._channel = channel
        self._scheduler = hosts_pb2_grpc.HostServiceStub(channel)
        self._reports = reports
        self._carry_out = carry_out

    async def run(self) -> None:
        """Keeps the stream open until it is cancelled."""
        attempt = 0
        while True:
            await self._channel.channel_ready()
            begun_s = asyncio.get_running_loop().time()
            why = await self._converse()
            lasted_s = asyncio.get_running_loop().time() - begun_s
            attempt = 0 if lasted_s > LONGEST_WAIT_S else attempt + 1
            log.warning("scheduler.lost", message=why, after_s=round(lasted_s, 1))
            await asyncio.sleep(wait_before(attempt))

    async def _converse(self) -> str:
        """Reports and obeys until the stream breaks; returns why it did."""
        stream = self._scheduler.Connect()
        outbox = self._reports.begin()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send(stream, outbox))
            receiving = group.create_task(self._receive(stream))
            try:
                await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
                if not outbox.has_overflowed:
                    # Where writing failed, reading finds out why.
                    await asyncio.wait((receiving,), timeout=REASON_S)
            finally:
                self._reports.end()
                sending.cancel()
                receiving.cancel()
                stream.cancel()
        if outbox.has_overflowed:
            return "more reports waited than may"
        return "it could not be written to" if receiving.cancelled() else receiving.result()

    async def _send(self, stream: _Stream, outbox: Outbox) -> None:
        try:
            while report := await outbox.next():
                await stream.write(report)
                if report.HasField("snapshot"):
                    log.info("scheduler.told", vms=len(report.snapshot.vms), containers=len(report.snapshot.containers))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            log.debug("scheduler.not_told", message=str(error))

    async def _receive(self, stream: _Stream) -> str:
        try:
            async for command in stream:
                if command is None:  # pyright: ignore[reportUnnecessaryComparison] - what grpc.aio cannot decode
                    return "the scheduler sent something that is no ConnectResponse"
                self._carry_out(command)
        except grpc.aio.AioRpcError as failure:
            return failure.details() or failure.code().name
        return "the scheduler ended it"
