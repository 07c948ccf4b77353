"""Waiting until services answer, and noticing when one ends instead."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stoker.aio import Client
from stoker.errors import ServerFault, StokerError, Unavailable
from stoker.local.processes import Process, end_of

LOOK_AGAIN_S = 0.2
"""The API of the fleet cannot be watched, so it is asked this often, in seconds."""
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)


class ServiceEnded(StokerError):
    """A service ended instead of answering."""

    def __init__(self, service: str) -> None:
        """Makes an error."""
        super().__init__("SERVICE_ENDED", f"{service} ended instead of answering")
        self.service = service


async def until_serving(service: str, process: Process, address: str, timeout_s: float) -> None:
    """Returns when the service's health is SERVING.

    Raises:
        ServiceEnded: Its process ended.
        Unavailable: It is not within `timeout_s`.
    """
    await _while_running(service, process, lambda: _serving(address), timeout_s)


async def until_host_connected(client: Client, host: str, process: Process, timeout_s: float) -> str:
    """Returns when the scheduler knows the host: the accelerator it uses, and why.

    Raises:
        ServiceEnded: The host agent's process ended.
        Unavailable: It does not within `timeout_s`.
    """
    return await _while_running("hostagent", process, lambda: _connected(client, host), timeout_s)


async def _while_running(
    service: str, process: Process, wait: Callable[[], Coroutine[Any, Any, str]], timeout_s: float
) -> str:
    with end_of(process) as descriptor:
        if descriptor is None:
            raise ServiceEnded(service)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            return await _first(wait(), ended.wait(), timeout_s, service)
        finally:
            loop.remove_reader(descriptor)


async def _first(wait: Coroutine[Any, Any, str], end: Awaitable[Any], timeout_s: float, service: str) -> str:
    waiting, ending = asyncio.ensure_future(wait), asyncio.ensure_future(end)
    try:
        await asyncio.wait({waiting, ending}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            raise ServiceEnded(service)
        if not waiting.done():
            raise Unavailable("NOT_READY", f"{service} is not ready after {timeout_s:.0f} s")
        return waiting.result()
    finally:
        for task in (waiting, ending):
            task.cancel()
        await asyncio.gather(waiting, ending, return_exceptions=True)


async def _serving(address: str) -> str:
    request = health_pb2.HealthCheckRequest(service="")
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        # Its stub has no types for asyncio.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                async for answer in stub.Watch(request, wait_for_ready=True):
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return "SERVING"
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise ServerFault("NO_HEALTH", f"what answers at {address} is not Stoker") from failure


async def _connected(client: Client, host: str) -> str:
    while True:
        try:
            fleet = await client.get_fleet()
        except Unavailable:
            # The frontend finds the scheduler a moment after both have come up.
            fleet = None
        for found in fleet.hosts if fleet else ():
            if found.id == host:
                return f"{found.accelerator}: {found.accelerator_reason}"
        await asyncio.sleep(LOOK_AGAIN_S)
