"""Health checking, by gRPC's own protocol.

gRPC's own servicer is not used: its watches never end, so that a server that stops would wait for them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any, cast

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """Says that services answer, until the server stops."""

    def __init__(self, service_names: Iterable[str]) -> None:
        # The empty name means the server as a whole.
        self._services = {"", *service_names}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Says from now on that no service answers, and ends all watches."""
        self._stopping.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Tells whether a service answers."""
        if request.service not in self._services:
            names = ", ".join(sorted(self._services - {""}))
            message = f"service: there is no `{request.service}` here; there are {names}"
            raise StokerError(ErrorKind.NOT_FOUND, "SERVICE_UNKNOWN", message, field="service")
        return health_pb2.HealthCheckResponse(status=NOT_SERVING if self._stopping.is_set() else SERVING)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        """Tells whether a service answers, and once more when the server stops."""
        is_known = request.service in self._services
        yield health_pb2.HealthCheckResponse(status=SERVING if is_known else SERVICE_UNKNOWN)
        await self._stopping.wait()
        yield health_pb2.HealthCheckResponse(status=NOT_SERVING if is_known else SERVICE_UNKNOWN)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server."""
        # The stub knows servers of threads alone.
        cast("Any", health_pb2_grpc).add_HealthServicer_to_server(self, server)
