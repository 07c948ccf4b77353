"""The other services, as the frontend sees them: they speak the real protocols, over real connections, in the test's
own process, and do what the test tells them to."""

import asyncio
import hashlib
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from stoker_protos.admin.v1 import fleet_pb2, fleet_pb2_grpc
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_protos.scheduler.v1 import capacity_pb2, capacity_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    invocations_pb2,
    versions_pb2,
)
from stoker_service.config import ServiceSettings
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import HOLDER, Context, metadata_value, tenant_of
from stoker_service.server import running_server

WITHIN_S = 10.0
"""How long a test waits for anything at the most, in seconds; never reached where all is well."""


class Journal:
    """Lets a test wait for what a peer sees."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def changed(self) -> None:
        """Says that something has happened."""
        for waiting, is_so in self._waiting.items():
            if not waiting.done() and is_so():
                waiting.set_result(None)

    async def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Returns when something holds."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = is_so
        try:
            self.changed()
            async with asyncio.timeout(WITHIN_S):
                await waiting
        finally:
            del self._waiting[waiting]


def spec_of(tenant: str, function: str, number: int = 1, *, timeout_s: int = 30) -> codestore_pb2.VersionSpec:
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
    )


class CodestorePeer(
    codestore_pb2_grpc.RouteServiceServicer,
    functions_pb2_grpc.FunctionServiceServicer,
    aliases_pb2_grpc.AliasServiceServicer,
):
    """Functions with routes."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str, str], list[tuple[codestore_pb2.VersionSpec, int]]] = {}
        self.resolved: Counter[tuple[str, str, str]] = Counter()
        self.traceparents: list[str] = []
        self.journal = Journal()
        self.watchers: set[asyncio.Queue[tuple[str, str]]] = set()

    def put(self, spec: codestore_pb2.VersionSpec, qualifier: str = "live") -> None:
        """Makes a qualifier lead to one version, without telling anybody."""
        self.routes[spec.tenant, spec.function, qualifier] = [(spec, 100)]

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
        return codestore_pb2.ResolveRouteResponse(routes=routes)

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

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its services to a server."""
        codestore_pb2_grpc.add_RouteServiceServicer_to_server(self, server)
        functions_pb2_grpc.add_FunctionServiceServicer_to_server(self, server)
        aliases_pb2_grpc.add_AliasServiceServicer_to_server(self, server)

    def _has(self, tenant: str, function: str) -> bool:
        return any(key[:2] == (tenant, function) for key in self.routes)


def _function_not_found(function: str) -> StokerError:
    return StokerError(
        ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND", f"name: there is no function `{function}`", field="name"
    )


Grant = Callable[[capacity_pb2.AcquireContainerRequest], Awaitable[capacity_pb2.AcquireContainerResponse]]


async def grant_none(_request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
    """Lets who asks wait."""
    await asyncio.Event().wait()
    raise AssertionError("nothing ends this wait")


class SchedulerPeer(capacity_pb2_grpc.CapacityServiceServicer, fleet_pb2_grpc.FleetServiceServicer):
    """Grants leases on one host, as many as are asked for, or does what `grant` does."""

    def __init__(self) -> None:
        self.host_address = ""
        self.hosts: dict[str, str] = {}
        self.grant: Grant = self.grant_new
        self.acquired: list[str] = []
        self.waiting = 0
        self.released: list[tuple[str, bool]] = []
        self.renewed: list[list[str]] = []
        self.ended: set[str] = set()
        self.ttl_ms = 30_000
        self.traceparents: list[str] = []
        self.journal = Journal()
        self._numbers = itertools.count(1)

    async def grant_new(self, request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
        """A new container."""
        number = next(self._numbers)
        lease = capacity_pb2.Lease(
            id=f"{number:032x}",
            ttl_ms=self.ttl_ms,
            container=f"c-{number:012x}",
            vm=f"vm-{hashlib.sha256(request.spec.tenant.encode()).hexdigest()[:12]}",
            host="host-1",
            host_address=self.host_address,
        )
        return capacity_pb2.AcquireContainerResponse(lease=lease, start=invocations_pb2.START_KIND_COLD, init_ms=1.5)

    async def AcquireContainer(
        self, request: capacity_pb2.AcquireContainerRequest, context: Context
    ) -> capacity_pb2.AcquireContainerResponse:
        self.traceparents.append(metadata_value(context, "traceparent"))
        self.acquired.append(request.spec.uid)
        self.waiting += 1
        try:
            self.journal.changed()
            return await self.grant(request)
        finally:
            self.waiting -= 1
            self.journal.changed()

    async def ReleaseContainer(
        self, request: capacity_pb2.ReleaseContainerRequest, context: Context
    ) -> capacity_pb2.ReleaseContainerResponse:
        self.released.append((request.lease_id, request.broken))
        self.journal.changed()
        return capacity_pb2.ReleaseContainerResponse()

    async def RenewLeases(
        self, request: capacity_pb2.RenewLeasesRequest, context: Context
    ) -> capacity_pb2.RenewLeasesResponse:
        self.renewed.append(list(request.lease_ids))
        self.journal.changed()
        ended = [lease_id for lease_id in request.lease_ids if lease_id in self.ended]
        return capacity_pb2.RenewLeasesResponse(ended_lease_ids=ended, ttl_ms=self.ttl_ms)

    async def ListHosts(
        self, request: capacity_pb2.ListHostsRequest, context: Context
    ) -> capacity_pb2.ListHostsResponse:
        hosts = [capacity_pb2.ListHostsResponse.Host(id=id, address=address) for id, address in self.hosts.items()]
        return capacity_pb2.ListHostsResponse(hosts=hosts)

    async def GetFleet(self, request: fleet_pb2.GetFleetRequest, context: Context) -> fleet_pb2.GetFleetResponse:
        hosts = [fleet_pb2.Host(id=id, address=address) for id, address in self.hosts.items()]
        return fleet_pb2.GetFleetResponse(hosts=hosts)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its services to a server."""
        capacity_pb2_grpc.add_CapacityServiceServicer_to_server(self, server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self, server)


Outcome = hostagent_pb2.Finished | hostagent_pb2.Failed
Run = Callable[[hostagent_pb2.Start], Awaitable[Outcome]]


async def echo(start: hostagent_pb2.Start) -> Outcome:
    """Answers with the event."""
    return hostagent_pb2.Finished(payload=start.payload, content_type="application/json", run_ms=0.25)


async def for_ever(_start: hostagent_pb2.Start) -> Outcome:
    """Does not answer before it is stopped."""
    await asyncio.Event().wait()
    raise AssertionError("nothing ends this wait")


class HostPeer(hostagent_pb2_grpc.InvocationServiceServicer, hostagent_pb2_grpc.HostLogServiceServicer):
    """Runs invocations as `run` does, each in a task of its own, and stops those that are cancelled."""

    def __init__(self) -> None:
        self.run: Run = echo
        self.started: list[hostagent_pb2.Start] = []
        self.stopped: list[str] = []
        self.holders: list[str] = []
        self.logs: list[hostagent_pb2.ReadLogsResponse] = []
        self.log_followers: set[asyncio.Queue[hostagent_pb2.ReadLogsResponse]] = set()
        self.log_requests: list[hostagent_pb2.ReadLogsRequest] = []
        self.journal = Journal()
        self._broken = asyncio.Event()

    def break_streams(self) -> None:
        """Ends all streams in the midst of whatever runs."""
        self._broken.set()
        self._broken = asyncio.Event()

    async def Connect(  # pyright: ignore[reportIncompatibleMethodOverride] - grpc.aio also takes a coroutine that writes
        self, request_iterator: AsyncIterator[hostagent_pb2.ConnectRequest], context: Context
    ) -> None:
        self.holders.append(metadata_value(context, HOLDER))
        broken = self._broken
        answers: asyncio.Queue[hostagent_pb2.ConnectResponse] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(self._take(request_iterator, answers, group)),
                group.create_task(_write_all(answers, context)),
            ]
            await broken.wait()
            for task in working:
                task.cancel()
        raise StokerError(ErrorKind.UNAVAILABLE, "BROKEN", "the test breaks the stream")

    async def _take(
        self,
        requests: AsyncIterator[hostagent_pb2.ConnectRequest],
        answers: "asyncio.Queue[hostagent_pb2.ConnectResponse]",
        group: asyncio.TaskGroup,
    ) -> None:
        running: dict[int, asyncio.Task[None]] = {}
        try:
            async for request in requests:
                if request.HasField("start"):
                    self.started.append(request.start)
                    task = running[request.call_id] = group.create_task(self._run(request, answers))
                    task.add_done_callback(lambda _, call_id=request.call_id: running.pop(call_id, None))
                elif task := running.get(request.call_id):
                    task.cancel()
                self.journal.changed()
        finally:
            for task in list(running.values()):
                task.cancel()

    async def _run(
        self, request: hostagent_pb2.ConnectRequest, answers: "asyncio.Queue[hostagent_pb2.ConnectResponse]"
    ) -> None:
        try:
            outcome = await self.run(request.start)
        except asyncio.CancelledError:
            self.stopped.append(request.start.invocation_id)
            self.journal.changed()
            raise
        answer = hostagent_pb2.ConnectResponse(call_id=request.call_id)
        if isinstance(outcome, hostagent_pb2.Finished):
            answer.finished.CopyFrom(outcome)
        else:
            answer.failed.CopyFrom(outcome)
        answers.put_nowait(answer)

    async def ReadLogs(
        self, request: hostagent_pb2.ReadLogsRequest, context: Context
    ) -> AsyncIterator[hostagent_pb2.ReadLogsResponse]:
        self.log_requests.append(request)
        new: asyncio.Queue[hostagent_pb2.ReadLogsResponse] = asyncio.Queue()
        if request.follow:
            self.log_followers.add(new)
        try:
            for line in self.logs[-request.limit :]:
                yield line
            self.journal.changed()
            while request.follow:
                yield await new.get()
        finally:
            self.log_followers.discard(new)

    def print_line(self, line: hostagent_pb2.ReadLogsResponse) -> None:
        """Keeps a line, and shows it to those who follow."""
        self.logs.append(line)
        for follower in self.log_followers:
            follower.put_nowait(line)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its services to a server."""
        hostagent_pb2_grpc.add_InvocationServiceServicer_to_server(self, server)
        hostagent_pb2_grpc.add_HostLogServiceServicer_to_server(self, server)


async def _write_all(answers: "asyncio.Queue[hostagent_pb2.ConnectResponse]", context: Context) -> None:
    while True:
        await context.write(await answers.get())


class Served:
    """A peer's server, which can be ended and begun again where it was."""

    def __init__(self, register: Callable[[grpc.aio.Server], None]) -> None:
        self._register = register
        self._context: Any = None
        self.address = "127.0.0.1:0"

    async def begin(self) -> None:
        """Serves, at the address where it served before."""
        settings = ServiceSettings(listen_address=self.address, drain_s=0)
        self._context = running_server(settings, self._register, [])
        self.address = (await self._context.__aenter__()).address

    async def end(self) -> None:
        """Ends it, with all calls there are."""
        if self._context is not None:
            context, self._context = self._context, None
            await context.__aexit__(None, None, None)


@asynccontextmanager
async def serving(registers: Iterable[Callable[[grpc.aio.Server], None]]) -> AsyncGenerator[list[Served]]:
    """Serves several peers while the context is entered."""
    servers = [Served(register) for register in registers]
    try:
        for server in servers:
            await server.begin()
        yield servers
    finally:
        for server in servers:
            await server.end()
