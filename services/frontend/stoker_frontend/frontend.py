"""The frontend, put together from its parts."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
from stoker_protos.admin.v1 import fleet_pb2, tenant_policies_pb2, tenants_pb2
from stoker_protos.v1 import (
    aliases_pb2,
    artifacts_pb2,
    concurrency_pb2,
    deliveries_pb2,
    functions_pb2,
    invocations_pb2,
    layers_pb2,
    logs_pb2,
    rollouts_pb2,
    rollovers_pb2,
    signing_keys_pb2,
    versions_pb2,
)
from stoker_service.background import background
from stoker_service.channels import open_channel
from stoker_service.server import Server, running_server
from stoker_service.sql import migrate, open_engine

from stoker_frontend import api_keys, errors
from stoker_frontend.api_keys import ApiKey
from stoker_frontend.authentication import Authentication
from stoker_frontend.codestore import Codestore
from stoker_frontend.concurrency import Concurrency
from stoker_frontend.config import FrontendSettings
from stoker_frontend.forwarding import forward
from stoker_frontend.host_logs import HostLogReader
from stoker_frontend.host_streams import HostStreams
from stoker_frontend.invocations import Invocations
from stoker_frontend.leases import Leases
from stoker_frontend.logs import Logs
from stoker_frontend.methods import admin_only, serve, tenants_only
from stoker_frontend.outcome_reports import report_always
from stoker_frontend.outcomes import Outcomes
from stoker_frontend.rollover_status import RolloverStatuses
from stoker_frontend.rollovers import Rollovers
from stoker_frontend.route_changes import changed_function
from stoker_frontend.routing import Router
from stoker_frontend.scheduler import Scheduler
from stoker_frontend.service import (
    ConcurrencyServicer,
    InvocationServicer,
    LogServicer,
    RolloverServicer,
    TenantServicer,
)
from stoker_frontend.tenant_policies import TenantPolicyServicer
from stoker_frontend.tenants import Tenants

MIGRATIONS = Path(__file__).parent / "migrations"
MAX_MESSAGE_BYTES = 72 * 1024 * 1024
"""The largest request that is read at all: far over the limit of a payload, so that who sends too much is told."""

_INVOCATIONS = invocations_pb2.DESCRIPTOR.services_by_name["InvocationService"]
_LOGS = logs_pb2.DESCRIPTOR.services_by_name["LogService"]
_CONCURRENCY = concurrency_pb2.DESCRIPTOR.services_by_name["ConcurrencyService"]
_ROLLOVERS = rollovers_pb2.DESCRIPTOR.services_by_name["RolloverService"]
_TENANTS = tenants_pb2.DESCRIPTOR.services_by_name["TenantService"]
_TENANT_POLICIES = tenant_policies_pb2.DESCRIPTOR.services_by_name["TenantPolicyService"]
_FLEET = fleet_pb2.DESCRIPTOR.services_by_name["FleetService"]
_OF_CODESTORE = (
    functions_pb2.DESCRIPTOR.services_by_name["FunctionService"],
    versions_pb2.DESCRIPTOR.services_by_name["VersionService"],
    aliases_pb2.DESCRIPTOR.services_by_name["AliasService"],
    artifacts_pb2.DESCRIPTOR.services_by_name["ArtifactService"],
    deliveries_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
    rollouts_pb2.DESCRIPTOR.services_by_name["RolloutService"],
    layers_pb2.DESCRIPTOR.services_by_name["LayerService"],
    signing_keys_pb2.DESCRIPTOR.services_by_name["SigningKeyService"],
)


class AdminKeyUnreadable(Exception):
    """The file with the admin key is not there, or holds something else."""


def read_admin_key(path: Path) -> ApiKey:
    """Reads the admin key.

    Raises:
        AdminKeyUnreadable: There is none in that file.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AdminKeyUnreadable(f"cannot read the admin key: {error}") from error
    key = api_keys.parse(text)
    if key is None:
        raise AdminKeyUnreadable(f"{path} holds no key of the form stk.<16 hex digits>.<43 URL-safe characters>")
    return key


@asynccontextmanager
async def running_frontend(settings: FrontendSettings) -> AsyncGenerator[Server]:
    """Runs the frontend for as long as the context is entered.

    Raises:
        AdminKeyUnreadable: There is no admin key.
        AddressInUse: The address cannot be listened on.
        DatabaseUnusable: The database cannot be opened or brought up to date.
    """
    admin_key = read_admin_key(settings.admin_key_file)
    engine = open_engine(settings.database_url)
    try:
        await migrate(engine, MIGRATIONS)
        async with (
            open_channel(settings.codestore_address) as codestore_channel,
            open_channel(settings.scheduler_address) as scheduler_channel,
            background() as tasks,
        ):
            holder = f"frontend-{uuid.uuid4().hex}"
            tenants = Tenants(engine)
            authentication = Authentication(tenants.find_key, admin_key, tasks, settings.key_cache_ttl_s)
            codestore = Codestore(codestore_channel)
            scheduler = Scheduler(scheduler_channel, holder)
            router = Router(codestore, tasks, settings.route_stale_s)
            leases = Leases(
                scheduler,
                tasks,
                idle_s=settings.lease_idle_s,
                wait_s=settings.capacity_wait_s,
                max_asking=settings.max_acquiring_per_version,
            )
            hosts = HostStreams(
                tasks,
                holder=holder,
                connect_s=settings.host_connect_s,
                unused_s=settings.host_unused_s,
                broke=leases.drop_host,
            )
            rollovers = Rollovers(
                leases,
                scheduler,
                codestore,
                tasks,
                wait_s=settings.capacity_wait_s,
                max_preparing=settings.max_acquiring_per_version,
            )
            outcomes = Outcomes()
            tasks.start(report_always(outcomes, codestore), "report outcomes")
            rollover_statuses = RolloverStatuses(codestore, scheduler, router, rollovers)
            invocations = Invocations(router, leases, rollovers, hosts, outcomes, settings.max_invocations)
            logs = Logs(scheduler, HostLogReader(), tasks)

            def forget_changed(tenant: str, method: str, request: bytes) -> None:
                if function := changed_function(method, request):
                    router.forget(tenant, function)

            def register(server: grpc.aio.Server) -> None:
                tenant, admin = tenants_only(authentication), admin_only(authentication)
                handlers = [
                    serve(_INVOCATIONS, InvocationServicer(invocations), tenant),
                    serve(_LOGS, LogServicer(logs, codestore), tenant),
                    serve(_CONCURRENCY, ConcurrencyServicer(Concurrency(codestore, scheduler, router)), tenant),
                    serve(_ROLLOVERS, RolloverServicer(rollover_statuses), tenant),
                    serve(_TENANTS, TenantServicer(tenants, authentication), admin),
                    serve(_TENANT_POLICIES, TenantPolicyServicer(tenants, codestore_channel), admin),
                    forward(_FLEET, scheduler_channel, admin, errors.scheduler_unavailable),
                ]
                for service in _OF_CODESTORE:
                    handlers.append(
                        forward(service, codestore_channel, tenant, errors.codestore_unavailable, forget_changed)
                    )
                server.add_generic_rpc_handlers(handlers)

            names = [
                service.full_name
                for service in (
                    *(_INVOCATIONS, _LOGS, _CONCURRENCY, _ROLLOVERS),
                    *(_TENANTS, _TENANT_POLICIES, _FLEET),
                    *_OF_CODESTORE,
                )
            ]
            async with running_server(settings, register, names, max_message_bytes=MAX_MESSAGE_BYTES) as server:
                try:
                    yield server
                finally:
                    logs.stop()
    finally:
        await engine.dispose()
