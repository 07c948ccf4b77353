"""Deliveries, put together from their parts."""

from dataclasses import dataclass

import grpc.aio
from stoker_protos.codestore.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_protos.v1 import deliveries_pb2 as public_pb2
from stoker_protos.v1 import deliveries_pb2_grpc as public_pb2_grpc
from stoker_service.background import Background

from stoker_codestore.artifacts import Artifacts
from stoker_codestore.config import CodestoreSettings
from stoker_codestore.database import Database
from stoker_codestore.deliveries import Deliveries
from stoker_codestore.delivery_progress import DeliveryProgressServicer
from stoker_codestore.delivery_service import DeliveryServicer
from stoker_codestore.delivery_targets import DeliveryTargets
from stoker_codestore.fan_out import Limits
from stoker_codestore.manifests import Manifests
from stoker_codestore.object_store import ArtifactStore
from stoker_codestore.push_ahead import PushAhead
from stoker_codestore.scheduler import Scheduler
from stoker_codestore.versions import Versions
from stoker_codestore.watches import Watches

SERVICES = (
    deliveries_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
    public_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
)


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """What the codestore's edges talk to."""

    deliveries: Deliveries
    servicer: DeliveryServicer
    progress: DeliveryProgressServicer

    def register(self, server: grpc.aio.Server) -> None:
        """Has both services served."""
        deliveries_pb2_grpc.add_DeliveryServiceServicer_to_server(self.servicer, server)
        public_pb2_grpc.add_DeliveryServiceServicer_to_server(self.progress, server)


def start_deliveries(
    settings: CodestoreSettings,
    database: Database,
    watches: Watches,
    versions: Versions,
    artifacts: Artifacts,
    manifests: Manifests,
    store: ArtifactStore,
    scheduler: Scheduler,
    tasks: Background,
) -> DeliveryParts:
    """Puts the parts together, and starts what runs all the time."""
    deliveries = Deliveries(Limits(settings.push_codestore_copies, settings.push_peer_fetches))
    tasks.start(deliveries.run(), "look for deliveries that stand still")
    push: PushAhead | None = None
    if settings.push_ahead:
        push = PushAhead(deliveries, DeliveryTargets(database), scheduler, watches, tasks)
        tasks.start(push.run(), "push new versions")
    servicer = DeliveryServicer(deliveries, push, artifacts, manifests, store, max_fetches=settings.max_chunk_fetches)
    return DeliveryParts(deliveries, servicer, DeliveryProgressServicer(deliveries, push, versions))
