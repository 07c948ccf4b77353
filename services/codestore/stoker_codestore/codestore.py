"""The codestore, put together from its parts."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import grpc.aio
from sqlalchemy.ext.asyncio import AsyncEngine
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc, loads_pb2, loads_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    artifacts_pb2,
    artifacts_pb2_grpc,
    concurrency_pb2,
    concurrency_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from stoker_service.background import background
from stoker_service.channels import open_channel
from stoker_service.server import Server, running_server
from stoker_service.sql import migrate, open_engine

from stoker_codestore import delivery_assembly
from stoker_codestore.aliases import Aliases
from stoker_codestore.artifact_sweep import ArtifactSweep
from stoker_codestore.artifacts import Artifacts
from stoker_codestore.concurrency import Concurrency
from stoker_codestore.concurrency_targets import ConcurrencyTargets
from stoker_codestore.config import CodestoreSettings
from stoker_codestore.database import AWAY, Database
from stoker_codestore.functions import Functions
from stoker_codestore.housekeeping import keep_house
from stoker_codestore.internal_service import (
    ArtifactFetchServicer,
    ConcurrencyTargetServicer,
    LoadServicer,
    RouteServicer,
)
from stoker_codestore.layer_service import LAYER_SERVICES, serve_layers
from stoker_codestore.layers import Layers
from stoker_codestore.manifests import WORK_PREFIX, Manifests
from stoker_codestore.notifications import Notifications
from stoker_codestore.object_store import opened_store
from stoker_codestore.prewarming import Prewarming
from stoker_codestore.quotas import Quota, Quotas
from stoker_codestore.retention import Retention
from stoker_codestore.rollout_controller import look_after
from stoker_codestore.rollout_service import ROLLOUT_SERVICES, serve_rollouts
from stoker_codestore.rollouts import Rollouts
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.routes import Routes
from stoker_codestore.scheduler import Scheduler
from stoker_codestore.service import (
    AliasServicer,
    ArtifactServicer,
    ConcurrencyServicer,
    FunctionServicer,
    VersionServicer,
)
from stoker_codestore.shared_directory import sharing
from stoker_codestore.signing_keys import SigningKeys
from stoker_codestore.tenant_policies import TenantPolicies
from stoker_codestore.tenant_service import TENANT_SERVICES, serve_tenants
from stoker_codestore.uploads import Uploads
from stoker_codestore.version_loads import VersionLoads
from stoker_codestore.version_sweep import VersionSweep
from stoker_codestore.versions import Versions
from stoker_codestore.watches import Watches

MIB = 1024 * 1024
MIGRATIONS = Path(__file__).parent / "migrations"

_SERVICES = [
    functions_pb2.DESCRIPTOR.services_by_name["FunctionService"],
    versions_pb2.DESCRIPTOR.services_by_name["VersionService"],
    aliases_pb2.DESCRIPTOR.services_by_name["AliasService"],
    artifacts_pb2.DESCRIPTOR.services_by_name["ArtifactService"],
    concurrency_pb2.DESCRIPTOR.services_by_name["ConcurrencyService"],
    codestore_pb2.DESCRIPTOR.services_by_name["RouteService"],
    loads_pb2.DESCRIPTOR.services_by_name["LoadService"],
    codestore_pb2.DESCRIPTOR.services_by_name["ConcurrencyTargetService"],
    codestore_pb2.DESCRIPTOR.services_by_name["ArtifactFetchService"],
    *ROLLOUT_SERVICES,
    *LAYER_SERVICES,
    *TENANT_SERVICES,
    *delivery_assembly.SERVICES,
]


class UploadsUnusable(Exception):
    """Uploads cannot be kept where they should be."""


class DatabaseUnreachable(Exception):
    """The database does not answer."""


@asynccontextmanager
async def running_codestore(settings: CodestoreSettings) -> AsyncGenerator[Server]:
    """Runs the codestore for as long as the context is entered.

    Raises:
        UploadsUnusable: Uploads cannot be kept where they should be.
        StoreUnusable: Artifacts cannot be kept where they should be.
        DatabaseUnreachable: The database does not answer.
        AddressInUse: The address cannot be listened on.
    """
    with _opened_uploads(settings.uploads_dir), opened_store(settings.artifacts_url) as store:
        async with (
            _opened_database(settings.database_url) as engine,
            _opened_scheduler(settings) as scheduler,
            background() as tasks,
        ):
            database = Database(engine)
            watches = Watches()
            notifications: Notifications | None = None
            if engine.dialect.name == "postgresql":
                notifications = Notifications(engine, watches)
                tasks.start(notifications.listen(), "listen for others' changes")
            else:
                # SQLite is for one process, which knows all that changes.
                watches.open()
            changes = RouteChanges(database, watches, notifications)
            rollouts = Rollouts(database, changes)
            tasks.start(look_after(rollouts), "look after rollouts")
            quotas = Quotas(_default_quota(settings))
            retention = Retention(settings.versions_kept, timedelta(seconds=settings.alias_changes_kept_s))
            artifacts = Artifacts(database, quotas)
            manifests = Manifests(database, store, settings.uploads_dir)
            sweeps = (
                VersionSweep(database, changes, retention),
                ArtifactSweep(
                    database,
                    store,
                    artifacts_kept=timedelta(seconds=settings.artifacts_kept_s),
                    grace=timedelta(seconds=settings.sweep_grace_s),
                ),
            )
            tasks.start(keep_house(sweeps, settings.sweep_every_s), "keep house")
            uploads = Uploads(
                artifacts,
                store,
                manifests,
                settings.uploads_dir,
                max_uploads=settings.max_uploads,
                upload_s=settings.upload_s,
                idle_s=settings.upload_idle_s,
            )
            versions = Versions(database, changes, quotas, retention)
            delivery = delivery_assembly.start_deliveries(
                settings, database, watches, versions, artifacts, manifests, store, scheduler, tasks
            )

            def register(server: grpc.aio.Server) -> None:
                delivery.register(server)
                functions_pb2_grpc.add_FunctionServiceServicer_to_server(
                    FunctionServicer(Functions(database, changes, quotas)), server
                )
                prewarming = Prewarming(Routes(database), scheduler, tasks)
                versions_pb2_grpc.add_VersionServiceServicer_to_server(VersionServicer(versions, prewarming), server)
                aliases_pb2_grpc.add_AliasServiceServicer_to_server(AliasServicer(Aliases(database, changes)), server)
                artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(
                    ArtifactServicer(uploads, artifacts, store), server
                )
                concurrency_pb2_grpc.add_ConcurrencyServiceServicer_to_server(
                    ConcurrencyServicer(Concurrency(database, changes)), server
                )
                codestore_pb2_grpc.add_ConcurrencyTargetServiceServicer_to_server(
                    ConcurrencyTargetServicer(ConcurrencyTargets(database, watches)), server
                )
                codestore_pb2_grpc.add_RouteServiceServicer_to_server(RouteServicer(Routes(database), watches), server)
                loads_pb2_grpc.add_LoadServiceServicer_to_server(LoadServicer(VersionLoads(database)), server)
                codestore_pb2_grpc.add_ArtifactFetchServiceServicer_to_server(
                    ArtifactFetchServicer(artifacts, store), server
                )
                serve_rollouts(rollouts, server)
                serve_layers(Layers(database), server)
                serve_tenants(TenantPolicies(database, changes, quotas), SigningKeys(database, changes, quotas), server)

            async with running_server(settings, register, [service.full_name for service in _SERVICES]) as server:
                try:
                    yield server
                finally:
                    # Watches never end by themselves, and the server would wait for them.
                    watches.stop()
                    delivery.deliveries.stop()


@contextmanager
def _opened_uploads(directory: Path) -> Generator[None]:
    with ExitStack() as held:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            held.enter_context(sharing(directory, f"{WORK_PREFIX}*"))
        except OSError as error:
            raise UploadsUnusable(f"cannot keep uploads in {directory}: {error}") from error
        yield


def _default_quota(settings: CodestoreSettings) -> Quota:
    return Quota(
        max_artifact_bytes=settings.tenant_artifact_mib * MIB,
        max_artifacts=settings.tenant_artifacts,
        max_total_bytes=settings.tenant_total_mib * MIB,
        max_functions=settings.tenant_functions,
        max_versions=settings.tenant_versions,
    )


@asynccontextmanager
async def _opened_scheduler(settings: CodestoreSettings) -> AsyncGenerator[Scheduler]:
    async with AsyncExitStack() as channels:
        address = settings.scheduler_address
        channel = await channels.enter_async_context(open_channel(address)) if address else None
        yield Scheduler(channel, settings.push_spare_hosts)


@asynccontextmanager
async def _opened_database(url: str) -> AsyncGenerator[AsyncEngine]:
    engine = open_engine(url)
    try:
        try:
            await migrate(engine, MIGRATIONS)
        except AWAY as error:
            raise DatabaseUnreachable(f"cannot use the database {engine.url}: {error}") from error
        yield engine
    finally:
        await engine.dispose()
