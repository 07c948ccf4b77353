"""gRPC servers: how each service answers, and how it stops."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from stoker_service.config import ServiceSettings
from stoker_service.health import Health
from stoker_service.interceptors import ServerEdge

log = structlog.get_logger()

DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class AddressInUse(Exception):
    """The address to listen on cannot be had."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    address: str
    """Where it answers, `address:port`, with the port that was taken where 0 was asked for."""
    drain_s: float
    """How long running calls may go on when it stops, in seconds."""


@asynccontextmanager
async def running_server(
    settings: ServiceSettings,
    register: Callable[[grpc.aio.Server], None],
    service_names: Sequence[str],
    *,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> AsyncGenerator[Server]:
    """Runs a server for as long as the context is entered, with health, reflection and channelz.

    On leaving, health says NOT_SERVING, new calls are refused, and running ones get `settings.drain_s` seconds.

    Args:
        settings: Where to listen, and how long to drain.
        register: Adds the service's own servicers.
        service_names: The full names of these, for health and reflection.
        max_message_bytes: The largest message taken or sent.

    Raises:
        AddressInUse: The address cannot be listened on.
    """
    server = grpc.aio.server(
        interceptors=[ServerEdge()],
        options=[
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    register(server)
    health_servicer = Health(service_names)
    health_servicer.register(server)
    channelz.add_channelz_servicer(server)  # pyright: ignore[reportUnknownMemberType] - its stub has no type for server
    reflection.enable_server_reflection(
        [*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME, "grpc.channelz.v1.Channelz"], server
    )
    host, _, _ = settings.listen_address.rpartition(":")
    try:
        port = server.add_insecure_port(settings.listen_address)
    except RuntimeError as error:
        raise AddressInUse(f"cannot listen on {settings.listen_address}: is another process there?") from error
    await server.start()
    running = Server(f"{host}:{port}", settings.drain_s)
    log.info("server.started", address=running.address)
    try:
        yield running
    finally:
        health_servicer.stop()
        await server.stop(settings.drain_s)
        log.info("server.stopped")


async def serve_until_terminated() -> None:
    """Returns when the process is told to end, by SIGTERM or SIGINT."""
    terminated = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminated.set)
    await terminated.wait()
    log.info("server.draining")
