"""The streams to all hosts that this frontend sends invocations to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc.aio
from stoker_service.background import Background
from stoker_service.channels import open_channel

from stoker_frontend.host_stream import Call, HostStream
from stoker_frontend.runs import Order

CLOSE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class _Open:
    stream: HostStream
    channel: grpc.aio.Channel
    running: asyncio.Task[None]


class HostStreams:
    """Opens a stream when a host is first used, and closes it when it has not been used for long."""

    def __init__(
        self,
        background: Background,
        *,
        holder: str,
        connect_s: float,
        unused_s: float,
        broke: Callable[[str], None],
    ) -> None:
        """Begins without any.

        Args:
            background: What owns the streams.
            holder: This frontend's id as a holder of leases.
            connect_s: How long connecting to a host may take, in seconds.
            unused_s: How long a stream without invocations is kept, in seconds.
            broke: Told the address of a host to which the stream has broken.
        """
        self._background = background
        self._holder = holder
        self._connect_s = connect_s
        self._unused_s = unused_s
        self._broke = broke
        self._open: dict[str, _Open] = {}
        background.start(self._close_unused(), "close unused host streams")

    def start(self, host: str, address: str, order: Order) -> Call:
        """Sends an order to a host.

        Raises:
            StokerError: HOST_BUSY; nothing was sent.
        """
        opened = self._open.get(address) or self._connect(host, address)
        return opened.stream.start(order)

    def _connect(self, host: str, address: str) -> _Open:
        channel = open_channel(address)
        stream = HostStream(host, address, channel, self._holder, self._connect_s, lambda: self._broke(address))
        running = self._background.start(self._run(stream, channel), f"host stream {address}")
        opened = self._open[address] = _Open(stream, channel, running)
        return opened

    async def _run(self, stream: HostStream, channel: grpc.aio.Channel) -> None:
        try:
            await stream.run()
        finally:
            await channel.close()

    async def _close_unused(self) -> None:
        while True:
            await asyncio.sleep(CLOSE_EVERY_S)
            before_s = asyncio.get_running_loop().time() - self._unused_s
            for address, opened in list(self._open.items()):
                if not opened.stream.is_busy and opened.stream.used_s < before_s:
                    del self._open[address]
                    opened.running.cancel()
                    self._broke(address)
