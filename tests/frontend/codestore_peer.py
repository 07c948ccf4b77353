"""The codestore, as the frontend sees it."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from stoker_protos.admin.v1 import tenant_policies_pb2, tenant_policies_pb2_grpc
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc, loads_pb2, loads_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    concurrency_pb2,
    concurrency_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    versions_pb2,
)
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import Context, metadata_value, tenant_of

from tests.frontend.peers import Journal


def spec_of(
    tenant: str, function: str, number: int = 1, *, timeout_s: int = 30, concurrency: int = 1
) -> codestore_pb2.VersionSpec:
    """A version."""
    return codestore_pb2.VersionSpec(
        uid=f"{tenant}-{function}-{number}",
        tenant=tenant,
        function=function,
        number=number,
        artifact_sha256=hashlib.sha256(b"code").hexdigest(),
        runtime=versions_pb2.RUNTIME_PYTHON3,
        handler="main.handler",
        memory_mib=128,
        timeout_s=timeout_s,
        tmp_mib=64,
        concurrency=concurrency,
    )


class CodestorePeer(
    codestore_pb2_grpc.RouteServiceServicer,
    loads_pb2_grpc.LoadServiceServicer,
    functions_pb2_grpc.FunctionServiceServicer,
    aliases_pb2_grpc.AliasServiceServicer,
    concurrency_pb2_grpc.ConcurrencyServiceServicer,
    tenant_policies_pb2_grpc.TenantPolicyServiceServicer,
):
    """Functions with routes."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str, str], list[tuple[codestore_pb2.VersionSpec, int]]] = {}
        self.previous: dict[tuple[str, str, str], list[codestore_pb2.PreviousSpec]] = {}
        self.loads: list[loads_pb2.ReportLoadRequest] = []
        self.resolved: Counter[tuple[str, str, str]] = Counter()
        self.traceparents: list[str] = []
        self.policies: dict[str, tenant_policies_pb2.TenantPolicy] = {}
        self.journal = Journal()
        self.watchers: set[asyncio.Queue[tuple[str, str]]] = set()

    def put(self, spec: codestore_pb2.VersionSpec, qualifier: str = "live") -> None:
        """Makes a qualifier lead to one version, without telling anybody."""
        self.routes[spec.tenant, spec.function, qualifier] = [(spec, 100)]

    def precede(self, new: codestore_pb2.VersionSpec, *old: codestore_pb2.VersionSpec, **previous: Any) -> None:
        """Makes some versions what `live` pointed to before another, the last one first."""
        told: dict[str, Any] = {"remaining_ms": 60_000} | previous
        before = [codestore_pb2.PreviousSpec(spec=spec, instead_of=new.uid, **told) for spec in old]
        self.previous[new.tenant, new.function, "live"] = before

    def tell(self, tenant: str, function: str) -> None:
        """Tells those who watch that a function's routes have changed."""
        for watcher in self.watchers:
            watcher.put_nowait((tenant, function))

    async def ResolveRoute(
        self, request: codestore_pb2.ResolveRouteRequest, context: Context
    ) -> codestore_pb2.ResolveRouteResponse:
        key = request.tenant, request.function, request.qualifier
        self.resolved[key] += 1
        self.journal.changed()
        if not self._has(request.tenant, request.function):
            raise _function_not_found(request.function)
        if key not in self.routes:
            raise StokerError(ErrorKind.NOT_FOUND, "ALIAS_NOT_FOUND", f"there is no alias `{request.qualifier}`")
        routes = [codestore_pb2.WeightedSpec(spec=spec, weight=weight) for spec, weight in self.routes[key]]
        return codestore_pb2.ResolveRouteResponse(routes=routes, previous=self.previous.get(key, ()))

    async def ReportLoad(self, request: loads_pb2.ReportLoadRequest, context: Context) -> loads_pb2.ReportLoadResponse:
        self.loads.append(request)
        self.journal.changed()
        return loads_pb2.ReportLoadResponse()

    async def WatchRoutes(
        self, request: codestore_pb2.WatchRoutesRequest, context: Context
    ) -> AsyncIterator[codestore_pb2.WatchRoutesResponse]:
        changes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.watchers.add(changes)
        try:
            yield codestore_pb2.WatchRoutesResponse()
            self.journal.changed()
            while True:
                tenant, function = await changes.get()
                yield codestore_pb2.WatchRoutesResponse(tenant=tenant, function=function)
        finally:
            self.watchers.discard(changes)

    async def GetFunction(
        self, request: functions_pb2.GetFunctionRequest, context: Context
    ) -> functions_pb2.GetFunctionResponse:
        function = request.name.removeprefix("functions/")
        if not self._has(tenant_of(context), function):
            raise _function_not_found(function)
        return functions_pb2.GetFunctionResponse(function=functions_pb2.Function(name=request.name))

    async def ListFunctions(
        self, request: functions_pb2.ListFunctionsRequest, context: Context
    ) -> functions_pb2.ListFunctionsResponse:
        self.traceparents.append(metadata_value(context, "traceparent"))
        names = {function for tenant, function, _ in self.routes if tenant == tenant_of(context)}
        return functions_pb2.ListFunctionsResponse(
            functions=[functions_pb2.Function(name=f"functions/{name}") for name in sorted(names)]
        )

    async def UpdateAlias(
        self, request: aliases_pb2.UpdateAliasRequest, context: Context
    ) -> aliases_pb2.UpdateAliasResponse:
        _, function, _, alias = request.alias.name.split("/")
        tenant = tenant_of(context)
        self.routes[tenant, function, alias] = [
            (spec_of(tenant, function, route.version), route.weight) for route in request.alias.routes
        ]
        return aliases_pb2.UpdateAliasResponse(alias=request.alias)

    async def GetConcurrency(
        self, request: concurrency_pb2.GetConcurrencyRequest, context: Context
    ) -> concurrency_pb2.GetConcurrencyResponse:
        setting = concurrency_pb2.Concurrency(name=request.name, provisioned=2)
        return concurrency_pb2.GetConcurrencyResponse(concurrency=setting)

    async def UpdateConcurrency(
        self, request: concurrency_pb2.UpdateConcurrencyRequest, context: Context
    ) -> concurrency_pb2.UpdateConcurrencyResponse:
        if not self._has(tenant_of(context), request.concurrency.name.split("/")[1]):
            raise _function_not_found(request.concurrency.name)
        return concurrency_pb2.UpdateConcurrencyResponse(concurrency=request.concurrency)

    async def ListConcurrency(
        self, request: concurrency_pb2.ListConcurrencyRequest, context: Context
    ) -> concurrency_pb2.ListConcurrencyResponse:
        names = (
            f"{request.parent}/concurrency",
            *(f"{request.parent}/aliases/{name}/concurrency" for name in ("live", "gone")),
        )
        settings = [concurrency_pb2.Concurrency(name=name, provisioned=2) for name in names]
        return concurrency_pb2.ListConcurrencyResponse(settings=settings)

    async def UpdateTenantPolicy(
        self, request: tenant_policies_pb2.UpdateTenantPolicyRequest, context: Context
    ) -> tenant_policies_pb2.UpdateTenantPolicyResponse:
        self.policies[request.policy.tenant_id] = request.policy
        return tenant_policies_pb2.UpdateTenantPolicyResponse(policy=request.policy)

    async def GetTenantPolicy(
        self, request: tenant_policies_pb2.GetTenantPolicyRequest, context: Context
    ) -> tenant_policies_pb2.GetTenantPolicyResponse:
        return tenant_policies_pb2.GetTenantPolicyResponse(policy=self.policies[request.tenant_id])

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its services to a server."""
        codestore_pb2_grpc.add_RouteServiceServicer_to_server(self, server)
        tenant_policies_pb2_grpc.add_TenantPolicyServiceServicer_to_server(self, server)
        loads_pb2_grpc.add_LoadServiceServicer_to_server(self, server)
        functions_pb2_grpc.add_FunctionServiceServicer_to_server(self, server)
        aliases_pb2_grpc.add_AliasServiceServicer_to_server(self, server)
        concurrency_pb2_grpc.add_ConcurrencyServiceServicer_to_server(self, server)

    def _has(self, tenant: str, function: str) -> bool:
        return any(key[:2] == (tenant, function) for key in self.routes)


def _function_not_found(function: str) -> StokerError:
    return StokerError(
        ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND", f"name: there is no function `{function}`", field="name"
    )
