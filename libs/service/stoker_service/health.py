"""Health checking, by gRPC's own protocol."""

import asyncio

from grpc_health.v1 import health, health_pb2

from stoker_service.metadata import Context

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(health.aio.HealthServicer):
    """Says whether services answer. Its watches end when the server stops, which would otherwise wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Tells a service's status whenever it changes."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(super().Watch(request, context))
            await self._stopping.wait()
            watching.cancel()
        await context.write(health_pb2.HealthCheckResponse(status=NOT_SERVING))

    async def enter_graceful_shutdown(self) -> None:
        """Says of all services that they do not answer, and ends all watches."""
        await super().enter_graceful_shutdown()
        self._stopping.set()
