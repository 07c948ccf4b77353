"""The services that other services see: translate, call, translate back."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc, loads_pb2, loads_pb2_grpc
from stoker_service.metadata import Context

from stoker_codestore import errors, names, rollover_wire, wire
from stoker_codestore.artifacts import Artifacts
from stoker_codestore.concurrency_targets import ConcurrencyTargets
from stoker_codestore.object_store import ArtifactStore
from stoker_codestore.routes import Routes
from stoker_codestore.version_loads import VersionLoads
from stoker_codestore.watches import Watches


class RouteServicer(codestore_pb2_grpc.RouteServiceServicer):
    """Serves `stoker.codestore.v1.RouteService`."""

    def __init__(self, routes: Routes, watches: Watches) -> None:
        self._routes = routes
        self._watches = watches

    async def ResolveRoute(
        self, request: codestore_pb2.ResolveRouteRequest, context: Context
    ) -> codestore_pb2.ResolveRouteResponse:
        """Resolves a qualifier."""
        tenant, function = request.tenant, request.function
        resolved = await self._routes.resolve(tenant, function, request.qualifier)
        return codestore_pb2.ResolveRouteResponse(
            routes=[wire.route_message(tenant, function, route) for route in resolved.routes],
            previous=[rollover_wire.previous_message(tenant, function, each) for each in resolved.previous],
        )

    async def WatchRoutes(
        self, request: codestore_pb2.WatchRoutesRequest, context: Context
    ) -> AsyncIterator[codestore_pb2.WatchRoutesResponse]:
        """Tells of changed routes."""
        async with aclosing(self._watches.watch()) as changes:
            async for change in changes:
                if change is None:
                    yield codestore_pb2.WatchRoutesResponse()
                else:
                    yield codestore_pb2.WatchRoutesResponse(tenant=change.tenant, function=change.function)


class LoadServicer(loads_pb2_grpc.LoadServiceServicer):
    """Serves `stoker.codestore.v1.LoadService`."""

    def __init__(self, loads: VersionLoads) -> None:
        self._loads = loads

    async def ReportLoad(self, request: loads_pb2.ReportLoadRequest, context: Context) -> loads_pb2.ReportLoadResponse:
        """Notes how loading a version ended."""
        error = rollover_wire.load_error_of(request)
        await self._loads.report(request.version_uid, error, request.failures, request.retry_ms / 1000)
        return loads_pb2.ReportLoadResponse()


class ConcurrencyTargetServicer(codestore_pb2_grpc.ConcurrencyTargetServiceServicer):
    """Serves `stoker.codestore.v1.ConcurrencyTargetService`."""

    def __init__(self, targets: ConcurrencyTargets) -> None:
        self._targets = targets

    async def WatchConcurrency(
        self, request: codestore_pb2.WatchConcurrencyRequest, context: Context
    ) -> AsyncIterator[codestore_pb2.WatchConcurrencyResponse]:
        """Tells how many containers functions are to have."""
        async with aclosing(self._targets.watch()) as told:
            async for each in told:
                if each is None:
                    yield codestore_pb2.WatchConcurrencyResponse(is_complete=True)
                else:
                    (tenant, function), target = each
                    message = wire.target_message(tenant, function, target)
                    yield codestore_pb2.WatchConcurrencyResponse(function=message)


class ArtifactFetchServicer(codestore_pb2_grpc.ArtifactFetchServiceServicer):
    """Serves `stoker.codestore.v1.ArtifactFetchService`."""

    def __init__(self, artifacts: Artifacts, store: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._store = store

    async def FetchArtifact(
        self, request: codestore_pb2.FetchArtifactRequest, context: Context
    ) -> AsyncIterator[codestore_pb2.FetchArtifactResponse]:
        """Streams an artifact."""
        if not names.is_name(request.tenant):
            raise errors.artifact_not_found(request.sha256)
        artifact = await self._artifacts.get(request.tenant, request.sha256)
        async with aclosing(self._store.read(artifact.object_key)) as chunks:
            async for chunk in chunks:
                yield codestore_pb2.FetchArtifactResponse(chunk=chunk)
