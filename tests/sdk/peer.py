"""A small Stoker in memory: the public services, over real gRPC, with the real rules and the real form of errors."""

import itertools
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.admin.v1 import fleet_pb2, tenant_policies_pb2, tenants_pb2
from stoker_protos.v1 import (
    aliases_pb2,
    artifacts_pb2,
    concurrency_pb2,
    functions_pb2,
    invocations_pb2,
    layers_pb2,
    logs_pb2,
    rollouts_pb2,
    rollovers_pb2,
    signing_keys_pb2,
    versions_pb2,
)
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.interceptors import InvalidRequest
from stoker_service.status import STATUS_DETAILS_KEY, code_of, details_of
from stoker_service.validation import violations_of

from tests.sdk.layer_peer import LayerPeer
from tests.sdk.policy_peer import PolicyPeer
from tests.sdk.rollout_peer import RolloutPeer
from tests.sdk.rollover_peer import RolloverPeer

API_KEY = f"stk.{'a' * 16}.{'b' * 43}"
ADMIN_KEY = f"stk.{'c' * 16}.{'d' * 43}"
PAGE = 2
"""How many entries a page has, so that lists have several."""

_MODULES = (
    functions_pb2,
    versions_pb2,
    aliases_pb2,
    rollouts_pb2,
    rollovers_pb2,
    artifacts_pb2,
    concurrency_pb2,
    layers_pb2,
    invocations_pb2,
    logs_pb2,
    signing_keys_pb2,
    tenant_policies_pb2,
    tenants_pb2,
    fleet_pb2,
)
_NOW = Timestamp(seconds=1_700_000_000)


class Peer(LayerPeer, PolicyPeer, RolloverPeer, RolloutPeer):
    """What is stored, what was called, and what is to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.address = ""
        self.calls: Counter[str] = Counter()
        self.metadata: dict[str, dict[str, str]] = {}
        self.failures: defaultdict[str, deque[StokerError]] = defaultdict(deque)
        """Errors that the next calls of a method are answered with."""
        self.functions: dict[str, functions_pb2.Function] = {}
        self.versions: dict[str, list[versions_pb2.Version]] = {}
        self.aliases: dict[str, aliases_pb2.Alias] = {}
        self.concurrency: dict[str, concurrency_pb2.Concurrency] = {}
        self.is_scheduler_away = False
        self.artifacts: dict[str, bytes] = {}
        self.tenants: list[str] = []
        self.lines: list[str] = []
        self.session_keys: list[str] = []
        self.is_following = threading.Event()

    def CreateFunction(self, request: Any, _context: Any) -> Any:
        function = request.function
        if function.name in self.functions:
            raise StokerError(ErrorKind.ALREADY_EXISTS, "FUNCTION_EXISTS", f"{function.name} exists")
        function.create_time.CopyFrom(_NOW)
        function.etag = "1"
        self.functions[function.name] = function
        self.versions[function.name] = []
        return functions_pb2.CreateFunctionResponse(function=function)

    def GetFunction(self, request: Any, _context: Any) -> Any:
        return functions_pb2.GetFunctionResponse(function=self._function(request.name))

    def ListFunctions(self, request: Any, _context: Any) -> Any:
        items, token = _page([self.functions[name] for name in sorted(self.functions)], request)
        return functions_pb2.ListFunctionsResponse(functions=items, next_page_token=token)

    def UpdateFunction(self, request: Any, _context: Any) -> Any:
        function = self._function(request.function.name)
        self.note_rollover(request)
        if "description" in request.update_mask.paths:
            function.description = request.function.description
        if "versions_kept" in request.update_mask.paths:
            function.versions_kept = request.function.versions_kept
        return functions_pb2.UpdateFunctionResponse(function=function)

    def DeleteFunction(self, request: Any, _context: Any) -> Any:
        del self.functions[self._function(request.name).name]
        return Empty()

    def PublishVersion(self, request: Any, _context: Any) -> Any:
        function = self._function(request.parent)
        versions = self.versions[function.name]
        if versions and versions[-1].artifact == request.version.artifact:
            return versions_pb2.PublishVersionResponse(version=versions[-1])
        version = request.version
        version.number = len(versions) + 1
        version.name = f"{function.name}/versions/{version.number}"
        version.memory_mib = version.memory_mib or 128
        version.timeout_s = version.timeout_s or 30
        versions.append(version)
        function.latest_version = version.number
        return versions_pb2.PublishVersionResponse(version=version)

    def GetVersion(self, request: Any, _context: Any) -> Any:
        function, _, number = request.name.partition("/versions/")
        return versions_pb2.GetVersionResponse(version=self.versions[function][int(number) - 1])

    def ListVersions(self, request: Any, _context: Any) -> Any:
        items, token = _page(self.versions[self._function(request.parent).name][::-1], request)
        return versions_pb2.ListVersionsResponse(versions=items, next_page_token=token)

    def DeleteVersion(self, request: Any, _context: Any) -> Any:
        raise StokerError(ErrorKind.FAILED_PRECONDITION, "VERSION_IN_USE", f"{request.name}: alias `live` names it")

    def CreateAlias(self, request: Any, _context: Any) -> Any:
        self.aliases[request.alias.name] = request.alias
        return aliases_pb2.CreateAliasResponse(alias=request.alias)

    def GetAlias(self, request: Any, _context: Any) -> Any:
        return aliases_pb2.GetAliasResponse(alias=self.aliases[request.name])

    def UpdateAlias(self, request: Any, _context: Any) -> Any:
        request.alias.update_time.CopyFrom(_NOW)
        self.aliases[request.alias.name] = request.alias
        return aliases_pb2.UpdateAliasResponse(alias=request.alias)

    def ListAliases(self, request: Any, _context: Any) -> Any:
        found = [self.aliases[name] for name in sorted(self.aliases) if name.startswith(f"{request.parent}/")]
        items, token = _page(found, request)
        return aliases_pb2.ListAliasesResponse(aliases=items, next_page_token=token)

    def DeleteAlias(self, request: Any, _context: Any) -> Any:
        del self.aliases[request.name]
        return Empty()

    def GetConcurrency(self, request: Any, _context: Any) -> Any:
        return concurrency_pb2.GetConcurrencyResponse(concurrency=self._standing(request.name))

    def UpdateConcurrency(self, request: Any, _context: Any) -> Any:
        setting = request.concurrency
        self._function(setting.name.removesuffix("/concurrency").partition("/aliases/")[0])
        self.concurrency[setting.name] = setting
        return concurrency_pb2.UpdateConcurrencyResponse(concurrency=self._standing(setting.name))

    def ListConcurrency(self, request: Any, _context: Any) -> Any:
        settings = [self._standing(name) for name in self.concurrency if name.startswith(f"{request.parent}/")]
        return concurrency_pb2.ListConcurrencyResponse(settings=settings)

    def UploadArtifact(self, requests: Iterator[Any], _context: Any) -> Any:
        sha256 = next(requests).header.sha256
        self.artifacts[sha256] = b"".join(request.chunk for request in requests)
        return artifacts_pb2.UploadArtifactResponse(artifact=self._artifact(sha256))

    def GetArtifact(self, request: Any, _context: Any) -> Any:
        return artifacts_pb2.GetArtifactResponse(artifact=self._artifact(request.name.rpartition("/")[2]))

    def DownloadArtifact(self, request: Any, _context: Any) -> Iterator[Any]:
        content = self.artifacts[request.name.rpartition("/")[2]]
        for begin in range(0, len(content), 100):
            yield artifacts_pb2.DownloadArtifactResponse(chunk=content[begin : begin + 100])

    def Invoke(self, request: Any, context: Any) -> Any:
        self.session_keys.append(request.session_key)
        response = invocations_pb2.InvokeResponse(
            payload=request.payload,
            content_type=request.content_type,
            executed_version=1,
            start=invocations_pb2.START_KIND_WARM,
            timings=invocations_pb2.Timings(queue_ms=0.5, run_ms=1, total_ms=2),
            invocation_id="f" * 32,
            container="c-1",
            vm="vm-1",
            host="host-1",
            log_tail=b"printed\n" if request.log_tail else b"",
        )
        match self._function(request.name).name:
            case "functions/boom":
                response.ClearField("payload")
                error = response.function_error
                error.kind = invocations_pb2.FUNCTION_ERROR_KIND_EXCEPTION
                error.type, error.message = "ValueError", "bad luck"
                error.stack_trace.extend(['File "main.py", line 3, in handler'])
            case "functions/slow":
                threading.Event().wait(context.time_remaining() + 0.2)
            case _:
                pass
        return response

    def TailLogs(self, request: Any, context: Any) -> Iterator[Any]:
        self._function(request.name)
        for line in self.lines[-(request.limit or 100) :]:
            entry = logs_pb2.LogEntry(time=_NOW, version=1, invocation_id="f" * 32, stream="stdout", line=line)
            yield logs_pb2.TailLogsResponse(entry=entry)
        if request.follow:
            ended = threading.Event()
            context.add_callback(ended.set)
            self.is_following.set()
            ended.wait(30)

    def CreateTenant(self, request: Any, _context: Any) -> Any:
        if request.tenant_id in self.tenants:
            raise StokerError(ErrorKind.ALREADY_EXISTS, "TENANT_EXISTS", f"tenant_id: there is {request.tenant_id}")
        self.tenants.append(request.tenant_id)
        tenant = tenants_pb2.Tenant(id=request.tenant_id, create_time=_NOW)
        return tenants_pb2.CreateTenantResponse(tenant=tenant, api_key=API_KEY)

    def ListTenants(self, request: Any, _context: Any) -> Any:
        items, token = _page([tenants_pb2.Tenant(id=each, create_time=_NOW) for each in self.tenants], request)
        return tenants_pb2.ListTenantsResponse(tenants=items, next_page_token=token)

    def CreateApiKey(self, _request: Any, _context: Any) -> Any:
        return tenants_pb2.CreateApiKeyResponse(api_key=API_KEY)

    def RevokeApiKey(self, request: Any, _context: Any) -> Any:
        return tenants_pb2.RevokeApiKeyResponse()

    def GetFleet(self, _request: Any, _context: Any) -> Any:
        host = fleet_pb2.Host(id="host-1", accelerator="qemu", accelerator_reason="KVM hangs", memory_mib=1024)
        vm = fleet_pb2.Vm(id="vm-1", host="host-1", state="warming", memory_mib=512)
        container = fleet_pb2.Container(id="c-1", vm="vm-1", function="hello", version=1, state="idle")
        return fleet_pb2.GetFleetResponse(hosts=[host], vms=[vm], containers=[container])

    def _standing(self, name: str) -> Any:
        setting = concurrency_pb2.Concurrency(name=name)
        setting.MergeFrom(self.concurrency.get(name, setting))
        if not self.is_scheduler_away:
            setting.loaded, setting.leased = 3, 1
        return setting

    def _function(self, name: str) -> Any:
        if name not in self.functions:
            raise StokerError(ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND", f"there is no {name}; CreateFunction makes it")
        return self.functions[name]

    def _artifact(self, sha256: str) -> Any:
        if sha256 not in self.artifacts:
            raise StokerError(ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND", "upload it first")
        return artifacts_pb2.Artifact(
            name=f"artifacts/{sha256}",
            format=artifacts_pb2.ARTIFACT_FORMAT_TAR_GZ,
            size_bytes=len(self.artifacts[sha256]),
            create_time=_NOW,
        )


@contextmanager
def running_peer() -> Generator[Peer]:
    """Runs a peer on a port of its own."""
    peer = Peer()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    for module in _MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            is_admin = module in (tenant_policies_pb2, tenants_pb2, fleet_pb2)
            handlers = {method.name: _handler(peer, method, is_admin) for method in service.methods}
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, handlers)])
    peer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield peer
    finally:
        server.stop(None).wait(10)


def _handler(peer: Peer, method: Any, is_admin: bool) -> Any:
    from google.protobuf.message_factory import GetMessageClass

    answer: Callable[[Any, Any], Any] = getattr(peer, method.name)

    def before(request: Any, context: Any) -> None:
        peer.calls[method.name] += 1
        peer.metadata[method.name] = {str(key): str(value) for key, value in context.invocation_metadata()}
        if peer.metadata[method.name].get("authorization") != f"Bearer {ADMIN_KEY if is_admin else API_KEY}":
            raise StokerError(ErrorKind.UNAUTHENTICATED, "API_KEY_INVALID", "the API key is unknown or revoked")
        if peer.failures[method.name]:
            raise peer.failures[method.name].popleft()
        if not method.client_streaming and (violations := violations_of(request)):
            raise InvalidRequest(violations)

    def single(request: Any, context: Any) -> Any:
        try:
            before(request, context)
            return answer(request, context)
        except StokerError as error:
            _abort(context, error)

    def streaming(request: Any, context: Any) -> Iterator[Any]:
        try:
            before(request, context)
            yield from answer(request, context)
        except StokerError as error:
            _abort(context, error)

    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        streaming if method.server_streaming else single,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


def _abort(context: Any, error: StokerError) -> None:
    violations = error.violations if isinstance(error, InvalidRequest) else ()
    context.set_trailing_metadata(((STATUS_DETAILS_KEY, details_of(error, violations)),))
    context.abort(code_of(error.kind), error.message)


def _page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    begin = int(request.page_token or 0)
    end = begin + PAGE
    return list(itertools.islice(items, begin, end)), str(end) if end < len(items) else ""
