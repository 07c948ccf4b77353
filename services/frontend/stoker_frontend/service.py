"""The services that the frontend answers itself: translate, call, translate back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.admin.v1 import tenants_pb2
from stoker_protos.v1 import concurrency_pb2, invocations_pb2, logs_pb2, rollovers_pb2
from stoker_service import paging
from stoker_service.deadlines import remaining_s
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context

from stoker_frontend.authentication import Authentication
from stoker_frontend.codestore import Codestore
from stoker_frontend.concurrency import Concurrency, Standing
from stoker_frontend.invocations import Answered, Invocation, Invocations, RolloverEffect
from stoker_frontend.logs import DEFAULT_LIMIT, LogLine, Logs
from stoker_frontend.rollover_status import RolloverStatuses
from stoker_frontend.rollover_wire import rollover_to_proto
from stoker_frontend.routes import RouteKey
from stoker_frontend.routing import DEFAULT_QUALIFIER
from stoker_frontend.tenants import Tenant, Tenants
from stoker_frontend.wire import failure_to_proto, setting_from_proto, setting_owner, setting_to_proto

FUNCTIONS = "functions/"


class InvocationServicer:
    """Serves `stoker.v1.InvocationService`."""

    def __init__(self, invocations: Invocations) -> None:
        self._invocations = invocations

    async def Invoke(
        self, tenant: str, request: invocations_pb2.InvokeRequest, context: Context
    ) -> invocations_pb2.InvokeResponse:
        """Runs a function once."""
        invocation = Invocation(
            RouteKey(tenant, request.name[len(FUNCTIONS) :], request.qualifier or DEFAULT_QUALIFIER),
            request.payload,
            request.content_type,
            request.log_tail,
            request.session_key,
        )
        return _invoke_response(await self._invocations.invoke(invocation, remaining_s(context)))


class LogServicer:
    """Serves `stoker.v1.LogService`."""

    def __init__(self, logs: Logs, codestore: Codestore) -> None:
        self._logs = logs
        self._codestore = codestore

    async def TailLogs(
        self, tenant: str, request: logs_pb2.TailLogsRequest, _context: Context
    ) -> AsyncGenerator[logs_pb2.TailLogsResponse]:
        """Streams a function's lines."""
        function = request.name[len(FUNCTIONS) :]
        try:
            await self._codestore.check_function(tenant, function)
        except StokerError as error:
            # Whether there is such a function matters less than its lines.
            if error.kind is not ErrorKind.UNAVAILABLE:
                raise
        limit = request.limit or DEFAULT_LIMIT
        async with aclosing(self._logs.tail(tenant, function, limit=limit, follow=request.follow)) as lines:
            async for line in lines:
                yield logs_pb2.TailLogsResponse(entry=_log_entry(line))


class ConcurrencyServicer:
    """Serves `stoker.v1.ConcurrencyService`."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency

    async def GetConcurrency(
        self, tenant: str, request: concurrency_pb2.GetConcurrencyRequest, _context: Context
    ) -> concurrency_pb2.GetConcurrencyResponse:
        """Returns a setting, and how things stand."""
        standing = await self._concurrency.get(tenant, *setting_owner(request.name))
        return concurrency_pb2.GetConcurrencyResponse(concurrency=_concurrency_message(standing))

    async def UpdateConcurrency(
        self, tenant: str, request: concurrency_pb2.UpdateConcurrencyRequest, _context: Context
    ) -> concurrency_pb2.UpdateConcurrencyResponse:
        """Changes a setting."""
        standing = await self._concurrency.set(tenant, setting_from_proto(request.concurrency))
        return concurrency_pb2.UpdateConcurrencyResponse(concurrency=_concurrency_message(standing))

    async def ListConcurrency(
        self, tenant: str, request: concurrency_pb2.ListConcurrencyRequest, _context: Context
    ) -> concurrency_pb2.ListConcurrencyResponse:
        """Lists what is set for a function and its aliases."""
        standings = await self._concurrency.list(tenant, request.parent[len(FUNCTIONS) :])
        return concurrency_pb2.ListConcurrencyResponse(settings=[_concurrency_message(each) for each in standings])


class RolloverServicer:
    """Serves `stoker.v1.RolloverService`."""

    def __init__(self, statuses: RolloverStatuses) -> None:
        self._statuses = statuses

    async def GetRollover(
        self, tenant: str, request: rollovers_pb2.GetRolloverRequest, _context: Context
    ) -> rollovers_pb2.GetRolloverResponse:
        """Tells which version answers for an alias now, and why."""
        _, function, _, alias = request.name.split("/")
        status = await self._statuses.get(tenant, function, alias)
        return rollovers_pb2.GetRolloverResponse(rollover=rollover_to_proto(request.name, status))


class TenantServicer:
    """Serves `stoker.admin.v1.TenantService`."""

    def __init__(self, tenants: Tenants, authentication: Authentication) -> None:
        self._tenants = tenants
        self._authentication = authentication

    async def CreateTenant(
        self, _tenant: str, request: tenants_pb2.CreateTenantRequest, _context: Context
    ) -> tenants_pb2.CreateTenantResponse:
        """Makes a tenant and its first key."""
        tenant, key = await self._tenants.create(request.tenant_id)
        return tenants_pb2.CreateTenantResponse(tenant=_tenant_message(tenant), api_key=key.text)

    async def ListTenants(
        self, _tenant: str, request: tenants_pb2.ListTenantsRequest, _context: Context
    ) -> tenants_pb2.ListTenantsResponse:
        """Lists all tenants."""
        size = paging.page_size(request.page_size)
        # One more than fits tells whether there is another page.
        found = await self._tenants.list_after(paging.decode_token(request.page_token), size + 1)
        page = found[:size]
        return tenants_pb2.ListTenantsResponse(
            tenants=[_tenant_message(tenant) for tenant in page],
            next_page_token=paging.encode_token(page[-1].id) if len(found) > size else "",
        )

    async def CreateApiKey(
        self, _tenant: str, request: tenants_pb2.CreateApiKeyRequest, _context: Context
    ) -> tenants_pb2.CreateApiKeyResponse:
        """Makes one more key."""
        key = await self._tenants.create_key(request.tenant_id)
        return tenants_pb2.CreateApiKeyResponse(api_key=key.text)

    async def RevokeApiKey(
        self, _tenant: str, request: tenants_pb2.RevokeApiKeyRequest, _context: Context
    ) -> tenants_pb2.RevokeApiKeyResponse:
        """Ends a key."""
        try:
            await self._tenants.revoke_key(request.key_id)
        finally:
            # Even a failed attempt may have had its effect.
            self._authentication.forget(request.key_id)
        return tenants_pb2.RevokeApiKeyResponse()


def _invoke_response(answered: Answered) -> invocations_pb2.InvokeResponse:
    finished, lease = answered.finished, answered.lease
    return invocations_pb2.InvokeResponse(
        payload=finished.payload,
        content_type=finished.content_type,
        function_error=failure_to_proto(finished.failure) if finished.failure else None,
        executed_version=answered.version.number,
        start=invocations_pb2.StartKind.ValueType(answered.start),
        timings=invocations_pb2.Timings(
            queue_ms=answered.queue_ms,
            init_ms=answered.init_ms,
            run_ms=finished.run_ms,
            total_ms=answered.total_ms,
        ),
        invocation_id=answered.invocation_id,
        container=lease.container if lease else "",
        vm=lease.vm if lease else "",
        host=lease.host if lease else "",
        log_tail=finished.log_tail,
        rollover=_rollover_effect(answered.rollover) if answered.rollover else None,
    )


def _rollover_effect(effect: RolloverEffect) -> invocations_pb2.RolloverEffect:
    return invocations_pb2.RolloverEffect(
        target_version=effect.target.number,
        rule=invocations_pb2.RolloverRule.ValueType(effect.rule),
        differing_fields=effect.differing_fields,
    )


def _concurrency_message(standing: Standing) -> concurrency_pb2.Concurrency:
    message = setting_to_proto(standing.setting)
    if standing.usage is not None:
        message.loaded, message.leased = standing.usage.loaded, standing.usage.leased
    return message


def _log_entry(line: LogLine) -> logs_pb2.LogEntry:
    time = Timestamp()
    time.FromNanoseconds(line.time_ns)
    return logs_pb2.LogEntry(
        time=time,
        version=line.version,
        invocation_id=line.invocation_id,
        container=line.container,
        stream=line.stream,
        line=line.line,
    )


def _tenant_message(tenant: Tenant) -> tenants_pb2.Tenant:
    time = Timestamp()
    time.FromDatetime(tenant.create_time)
    return tenants_pb2.Tenant(id=tenant.id, create_time=time)
