"""The service by which tenants see how their versions reach hosts: translate, call, translate back."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from stoker_protos.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_service.metadata import Context, tenant_of

from stoker_codestore import errors, names
from stoker_codestore.deliveries import Deliveries
from stoker_codestore.distribution import ArtifactKey, Progress, Stage
from stoker_codestore.push_ahead import PushAhead
from stoker_codestore.versions import Versions

_STATES = {
    Stage.WAITING: deliveries_pb2.HOST_DELIVERY_STATE_WAITING,
    Stage.FETCHING: deliveries_pb2.HOST_DELIVERY_STATE_FETCHING,
    Stage.DELIVERED: deliveries_pb2.HOST_DELIVERY_STATE_DELIVERED,
    Stage.FAILED: deliveries_pb2.HOST_DELIVERY_STATE_FAILED,
}


class DeliveryProgressServicer(deliveries_pb2_grpc.DeliveryServiceServicer):
    """Serves `stoker.v1.DeliveryService`."""

    def __init__(self, deliveries: Deliveries, push: PushAhead | None, versions: Versions) -> None:
        self._deliveries = deliveries
        self._push = push
        self._versions = versions

    async def WatchDelivery(
        self, request: deliveries_pb2.WatchDeliveryRequest, context: Context
    ) -> AsyncIterator[deliveries_pb2.WatchDeliveryResponse]:
        """Tells how a version's delivery stands."""
        tenant = tenant_of(context)
        if not names.is_name(tenant):
            raise errors.tenant_invalid()
        function = names.function_in(request.name)
        version = await self._versions.get(tenant, function, names.version_in(request.name))
        if self._push is not None:
            # Whoever publishes and asks at once is told of what has begun, not of what has not.
            await self._push.push(tenant, function)
        artifact = ArtifactKey(tenant, version.configuration.artifact_sha256)
        async with aclosing(self._deliveries.follow(artifact)) as told:
            async for progress, is_complete in told:
                hosts = [_message(host, progress[host]) for host in sorted(progress)]
                yield deliveries_pb2.WatchDeliveryResponse(hosts=hosts, is_complete=is_complete)


def _message(host: str, progress: Progress) -> deliveries_pb2.HostDelivery:
    return deliveries_pb2.HostDelivery(
        host=host,
        state=_STATES[progress.stage],
        source=progress.source,
        lacking_bytes=progress.lacking_bytes,
        fetched_bytes=progress.fetched_bytes,
        message=progress.message,
    )
