"""Requests that cannot be answered well, each with what must be answered instead."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from stoker_protos.admin.v1 import tenants_pb2
from stoker_protos.v1 import (
    aliases_pb2,
    artifacts_pb2,
    concurrency_pb2,
    functions_pb2,
    invocations_pb2,
    logs_pb2,
    rollouts_pb2,
    versions_pb2,
)
from stoker_service.errors import ErrorKind

from tests.frontend.archives import GOOD_ZIP, MIB, UNSAFE

GARBAGE = b"\xff\xff\xff"
"""No protobuf message of any kind."""


GOOD_ARTIFACT = f"artifacts/{hashlib.sha256(GOOD_ZIP).hexdigest()}"


def header(content: bytes, **other: Any) -> artifacts_pb2.UploadArtifactRequest:
    """The first message of an upload."""
    told: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)} | other
    return artifacts_pb2.UploadArtifactRequest(header=artifacts_pb2.UploadArtifactHeader(**told))


def chunk(content: bytes) -> artifacts_pb2.UploadArtifactRequest:
    """A later message of an upload."""
    return artifacts_pb2.UploadArtifactRequest(chunk=content)


def upload_of(content: bytes) -> list[artifacts_pb2.UploadArtifactRequest]:
    """All messages of an upload."""
    return [header(content), *(chunk(content[at : at + MIB]) for at in range(0, len(content), MIB))]


def version(**fields: Any) -> versions_pb2.PublishVersionRequest:
    """The publishing of a version that is good but for some fields."""
    told: dict[str, Any] = {"artifact": GOOD_ARTIFACT, "runtime": "RUNTIME_PYTHON3", "handler": "main.handler"} | fields
    return versions_pb2.PublishVersionRequest(parent="functions/hello", version=versions_pb2.Version(**told))


def alias(name: str, *routes: tuple[int, int], **fields: Any) -> aliases_pb2.Alias:
    """An alias with versions and their weights."""
    weighted = [aliases_pb2.WeightedVersion(version=number, weight=weight) for number, weight in routes]
    return aliases_pb2.Alias(name=f"functions/hello/aliases/{name}", routes=weighted, **fields)


@dataclass(frozen=True)
class Bad:
    """A bad request and its answer."""

    what: str
    method: str
    """`Service/Method`."""
    requests: Callable[[], Sequence[Message | bytes]]
    """Made when needed: some are large."""
    kind: ErrorKind
    reason: str
    field: str = ""
    """The field that the answer names, in its message and its details; empty where no single one is at fault."""
    says: str = ""
    """Something that the message must say."""


def _bad(
    what: str, method: str, request: Message | Sequence[Message | bytes], reason: str, field: str = "", says: str = ""
) -> Bad:
    requests: Sequence[Message | bytes] = [request] if isinstance(request, Message) else request
    return Bad(what, method, lambda: requests, KINDS[reason], reason, field, says)


KINDS = {
    "INVALID_FIELD": ErrorKind.INVALID_ARGUMENT,
    "INVALID_PAGE_TOKEN": ErrorKind.INVALID_ARGUMENT,
    "MALFORMED_REQUEST": ErrorKind.INVALID_ARGUMENT,
    "REQUEST_TOO_LARGE": ErrorKind.INVALID_ARGUMENT,
    "UPLOAD_MALFORMED": ErrorKind.INVALID_ARGUMENT,
    "SIZE_MISMATCH": ErrorKind.INVALID_ARGUMENT,
    "DIGEST_MISMATCH": ErrorKind.INVALID_ARGUMENT,
    "ARTIFACT_UNSAFE": ErrorKind.INVALID_ARGUMENT,
    "FUNCTION_NOT_FOUND": ErrorKind.NOT_FOUND,
    "VERSION_NOT_FOUND": ErrorKind.NOT_FOUND,
    "ALIAS_NOT_FOUND": ErrorKind.NOT_FOUND,
    "ARTIFACT_NOT_FOUND": ErrorKind.NOT_FOUND,
    "TENANT_NOT_FOUND": ErrorKind.NOT_FOUND,
    "API_KEY_NOT_FOUND": ErrorKind.NOT_FOUND,
    "FUNCTION_EXISTS": ErrorKind.ALREADY_EXISTS,
    "ALIAS_EXISTS": ErrorKind.ALREADY_EXISTS,
    "TENANT_EXISTS": ErrorKind.ALREADY_EXISTS,
    "ROLLOUT_NOT_FOUND": ErrorKind.NOT_FOUND,
    "VERSION_IN_USE": ErrorKind.FAILED_PRECONDITION,
    "NO_EARLIER_VERSION": ErrorKind.FAILED_PRECONDITION,
    "ETAG_MISMATCH": ErrorKind.ABORTED,
}

_CREATE_FUNCTION = "FunctionService/CreateFunction"
_UPDATE_FUNCTION = "FunctionService/UpdateFunction"
_PUBLISH = "VersionService/PublishVersion"
_UPLOAD = "ArtifactService/UploadArtifact"
_INVOKE = "InvocationService/Invoke"
_GET_FUNCTION = "FunctionService/GetFunction"
_DELETE_FUNCTION = "FunctionService/DeleteFunction"
_GET_VERSION = "VersionService/GetVersion"
_DELETE_VERSION = "VersionService/DeleteVersion"
_CREATE_ALIAS = "AliasService/CreateAlias"
_UPDATE_ALIAS = "AliasService/UpdateAlias"
_START_ROLLOUT = "RolloutService/StartRollout"
_SET_CONCURRENCY = "ConcurrencyService/UpdateConcurrency"
_CREATE_TENANT = "TenantService/CreateTenant"
_UNKNOWN_SHA256 = "0" * 64


def _function(**fields: Any) -> functions_pb2.CreateFunctionRequest:
    return functions_pb2.CreateFunctionRequest(function=functions_pb2.Function(**fields))


def _update(path: str, **fields: Any) -> functions_pb2.UpdateFunctionRequest:
    request = functions_pb2.UpdateFunctionRequest(function=functions_pb2.Function(name="functions/hello", **fields))
    request.update_mask.paths.append(path)
    return request


def _invoke(**fields: Any) -> invocations_pb2.InvokeRequest:
    told: dict[str, Any] = {"name": "functions/hello"} | fields
    return invocations_pb2.InvokeRequest(**told)


def _names() -> list[Bad]:
    names = {
        "without its collection": "hello",
        "of another collection": "tenants/hello",
        "with capitals": "functions/Hello",
        "with a digit first": "functions/1hello",
        "with a hyphen last": "functions/hello-",
        "that climbs": "functions/../hello",
        "with a line break": "functions/hello\n",
        "with a NUL": "functions/hel\0lo",
        "that is not ASCII": "functions/héllo",
        "that is too long": f"functions/{'x' * 64}",
        "that is very long": f"functions/{'x' * MIB}",
    }
    return [
        _bad(f"a name {what}", method, request_class(name=name), "INVALID_FIELD", "name")
        for what, name in names.items()
        for method, request_class in (
            (_GET_FUNCTION, functions_pb2.GetFunctionRequest),
            (_INVOKE, invocations_pb2.InvokeRequest),
        )
    ]


def _functions() -> list[Bad]:
    get, delete = functions_pb2.GetFunctionRequest, functions_pb2.DeleteFunctionRequest
    mask_missing = functions_pb2.UpdateFunctionRequest(function=functions_pb2.Function(name="functions/hello"))
    return [
        _bad("an unknown function", _GET_FUNCTION, get(name="functions/no"), "FUNCTION_NOT_FOUND"),
        _bad("another tenant's function", _GET_FUNCTION, get(name="functions/bobs"), "FUNCTION_NOT_FOUND"),
        _bad(
            "deleting an unknown one",
            _DELETE_FUNCTION,
            delete(name="functions/no"),
            "FUNCTION_NOT_FOUND",
        ),
        _bad("one made twice", _CREATE_FUNCTION, _function(name="functions/hello"), "FUNCTION_EXISTS", "function.name"),
        _bad(
            "a long description",
            _CREATE_FUNCTION,
            _function(name="functions/new", description="x" * 1025),
            "INVALID_FIELD",
            "function.description",
        ),
        _bad(
            "a huge description",
            _CREATE_FUNCTION,
            _function(description="x" * 5 * MIB),
            "REQUEST_TOO_LARGE",
            says="bytes",
        ),
        _bad(
            "a description with a NUL",
            _CREATE_FUNCTION,
            _function(name="functions/new", description="\0"),
            "INVALID_FIELD",
            "function.description",
        ),
        _bad("no mask", _UPDATE_FUNCTION, mask_missing, "INVALID_FIELD", "update_mask"),
        _bad("a mask of what cannot be changed", _UPDATE_FUNCTION, _update("uid"), "INVALID_FIELD", "update_mask"),
        _bad("a stale etag", _UPDATE_FUNCTION, _update("description", etag="old"), "ETAG_MISMATCH", "function.etag"),
        _bad(
            "a stale etag at deletion",
            _DELETE_FUNCTION,
            delete(name="functions/hello", etag="old"),
            "ETAG_MISMATCH",
            "etag",
        ),
    ]


def _pages() -> list[Bad]:
    lists: list[tuple[str, Callable[..., Message]]] = [
        ("FunctionService/ListFunctions", functions_pb2.ListFunctionsRequest),
        ("VersionService/ListVersions", partial(versions_pb2.ListVersionsRequest, parent="functions/hello")),
        ("AliasService/ListAliases", partial(aliases_pb2.ListAliasesRequest, parent="functions/hello")),
        ("TenantService/ListTenants", tenants_pb2.ListTenantsRequest),
    ]
    return [
        bad
        for method, request in lists
        for bad in (
            _bad("a page of less than none", method, request(page_size=-1), "INVALID_FIELD", "page_size"),
            _bad("a page of too many", method, request(page_size=1001), "INVALID_FIELD", "page_size"),
            _bad("a page token of nobody", method, request(page_token="?"), "INVALID_PAGE_TOKEN", "page_token"),
            _bad("a page token with a NUL", method, request(page_token="AA"), "INVALID_PAGE_TOKEN", "page_token"),
            _bad("a long page token", method, request(page_token="x" * 513), "INVALID_FIELD", "page_token"),
        )
    ]


def _versions() -> list[Bad]:
    get, delete = versions_pb2.GetVersionRequest, versions_pb2.DeleteVersionRequest
    name = "functions/hello/versions"
    fields: list[tuple[str, str, dict[str, Any]]] = [
        ("no runtime", "version.runtime", {"runtime": 0}),
        ("an unknown runtime", "version.runtime", {"runtime": 99}),
        ("a handler without a function", "version.handler", {"handler": "main"}),
        ("a handler that climbs", "version.handler", {"handler": "../main.handler"}),
        ("too little memory", "version.memory_mib", {"memory_mib": 63}),
        ("too much memory", "version.memory_mib", {"memory_mib": 10241}),
        ("less than no time", "version.timeout_s", {"timeout_s": -1}),
        ("too much time", "version.timeout_s", {"timeout_s": 901}),
        ("too large a /tmp", "version.tmp_mib", {"tmp_mib": 1025}),
        ("too many at once", "version.concurrency", {"concurrency": 101}),
        ("less than none at once", "version.concurrency", {"concurrency": -1}),
        ("a variable of no name", "version.environment[1A]", {"environment": {"1A": "x"}}),
        ("too many variables", "version.environment", {"environment": {f"A{number}": "" for number in range(65)}}),
        ("a long variable", "version.environment[A]", {"environment": {"A": "x" * 4097}}),
        ("an artifact of no digest", "version.artifact", {"artifact": "artifacts/abc"}),
    ]
    return [
        *(_bad(what, _PUBLISH, version(**wrong), "INVALID_FIELD", field) for what, field, wrong in fields),
        _bad(
            "an unknown artifact",
            _PUBLISH,
            version(artifact=f"artifacts/{_UNKNOWN_SHA256}"),
            "ARTIFACT_NOT_FOUND",
            "version.artifact",
        ),
        _bad("an unknown version", _GET_VERSION, get(name=f"{name}/99"), "VERSION_NOT_FOUND", says="99"),
        _bad("a version of number 0", _GET_VERSION, get(name=f"{name}/0"), "INVALID_FIELD", "name"),
        _bad("an unknown one deleted", _DELETE_VERSION, delete(name=f"{name}/99"), "VERSION_NOT_FOUND"),
        _bad(
            "one in use deleted",
            _DELETE_VERSION,
            delete(name=f"{name}/1"),
            "VERSION_IN_USE",
            says="live",
        ),
        _bad(
            "a list of an unknown function's",
            "VersionService/ListVersions",
            versions_pb2.ListVersionsRequest(parent="functions/no"),
            "FUNCTION_NOT_FOUND",
        ),
    ]


def _aliases() -> list[Bad]:
    routes: list[tuple[str, str, aliases_pb2.Alias]] = [
        ("no routes", "alias.routes", alias("new")),
        ("three routes", "alias.routes", alias("new", (1, 50), (2, 25), (3, 25))),
        ("weights of less than 100", "alias.routes", alias("new", (1, 60), (2, 30))),
        ("weights of more than 100", "alias.routes", alias("new", (1, 60), (2, 60))),
        ("one weight of less than 100", "alias.routes", alias("new", (1, 99))),
        ("a weight of 0", "alias.routes[1].weight", alias("new", (1, 100), (2, 0))),
        ("one version twice", "alias.routes", alias("new", (1, 50), (1, 50))),
        ("a version of less than 1", "alias.routes[0].version", alias("new", (-1, 100))),
        ("a name that is a number", "alias.name", alias("7", (1, 100))),
    ]
    get, delete = aliases_pb2.GetAliasRequest, aliases_pb2.DeleteAliasRequest
    create, update = aliases_pb2.CreateAliasRequest, aliases_pb2.UpdateAliasRequest
    no = "functions/hello/aliases/no"
    return [
        *(_bad(what, _CREATE_ALIAS, create(alias=it), "INVALID_FIELD", field) for what, field, it in routes),
        _bad(
            "a missing version",
            _CREATE_ALIAS,
            create(alias=alias("new", (99, 100))),
            "VERSION_NOT_FOUND",
            says="99",
        ),
        _bad(
            "one made twice",
            _CREATE_ALIAS,
            create(alias=alias("live", (1, 100))),
            "ALIAS_EXISTS",
            "alias.name",
        ),
        _bad("an unknown one", "AliasService/GetAlias", get(name=no), "ALIAS_NOT_FOUND"),
        _bad("an unknown one moved", _UPDATE_ALIAS, update(alias=alias("no", (1, 100))), "ALIAS_NOT_FOUND"),
        _bad("an unknown one deleted", "AliasService/DeleteAlias", delete(name=no), "ALIAS_NOT_FOUND"),
        _bad(
            "a stale etag",
            _UPDATE_ALIAS,
            update(alias=alias("live", (1, 100), etag="old")),
            "ETAG_MISMATCH",
            "alias.etag",
        ),
        _bad(
            "a missing version moved to",
            _UPDATE_ALIAS,
            update(alias=alias("live", (99, 100))),
            "VERSION_NOT_FOUND",
            says="99",
        ),
    ]


def _concurrency() -> list[Bad]:
    def update(owner: str = "hello", **values: int) -> concurrency_pb2.UpdateConcurrencyRequest:
        name = f"functions/{owner}/concurrency"
        return concurrency_pb2.UpdateConcurrencyRequest(concurrency=concurrency_pb2.Concurrency(name=name, **values))

    get, listed = concurrency_pb2.GetConcurrencyRequest, concurrency_pb2.ListConcurrencyRequest
    wrong = [
        ("less than none kept", "concurrency.provisioned", update(provisioned=-1)),
        ("more kept than may be", "concurrency.provisioned", update(provisioned=1001)),
        ("a maximum of less than none", "concurrency.maximum", update(maximum=-1)),
        ("a huge maximum", "concurrency.maximum", update(maximum=10_001)),
        ("a maximum of an alias", "concurrency.maximum", update("hello/aliases/live", maximum=1)),
        ("a setting of a version", "concurrency.name", update("hello/versions/1", provisioned=1)),
        ("a setting of no name", "concurrency.name", update("Hello", provisioned=1)),
    ]
    return [
        *(_bad(what, _SET_CONCURRENCY, request, "INVALID_FIELD", field) for what, field, request in wrong),
        _bad("an unknown function's", _SET_CONCURRENCY, update("gone", maximum=1), "FUNCTION_NOT_FOUND"),
        _bad("another tenant's function's", _SET_CONCURRENCY, update("bobs", maximum=1), "FUNCTION_NOT_FOUND"),
        _bad("an unknown alias's", _SET_CONCURRENCY, update("hello/aliases/no", provisioned=1), "ALIAS_NOT_FOUND"),
        _bad(
            "an unknown function's, read",
            "ConcurrencyService/GetConcurrency",
            get(name="functions/gone/concurrency"),
            "FUNCTION_NOT_FOUND",
        ),
        _bad(
            "a function's own name, read",
            "ConcurrencyService/GetConcurrency",
            get(name="functions/hello"),
            "INVALID_FIELD",
            "name",
        ),
        _bad(
            "an unknown function's, listed",
            "ConcurrencyService/ListConcurrency",
            listed(parent="functions/gone"),
            "FUNCTION_NOT_FOUND",
        ),
    ]


def _artifacts() -> list[Bad]:
    get = artifacts_pb2.GetArtifactRequest(name=f"artifacts/{_UNKNOWN_SHA256}")
    download = artifacts_pb2.DownloadArtifactRequest(name=f"artifacts/{_UNKNOWN_SHA256}")
    rest = GOOD_ZIP[1:]
    return [
        *(_bad(what, _UPLOAD, upload_of(content), "ARTIFACT_UNSAFE", "chunk") for what, content in UNSAFE.items()),
        _bad("an upload of nothing", _UPLOAD, [], "UPLOAD_MALFORMED", "header"),
        _bad("bytes before the header", _UPLOAD, [chunk(GOOD_ZIP)], "UPLOAD_MALFORMED", "header"),
        _bad("two headers", _UPLOAD, [header(GOOD_ZIP), header(GOOD_ZIP)], "UPLOAD_MALFORMED", "header"),
        _bad("other bytes", _UPLOAD, [header(GOOD_ZIP), chunk(b"x" + rest)], "DIGEST_MISMATCH", "header.sha256"),
        _bad("too few bytes", _UPLOAD, [header(GOOD_ZIP), chunk(rest)], "SIZE_MISMATCH", "header.size_bytes"),
        _bad(
            "too many bytes", _UPLOAD, [header(GOOD_ZIP), chunk(b"x" + GOOD_ZIP)], "SIZE_MISMATCH", "header.size_bytes"
        ),
        _bad("an upload of size 0", _UPLOAD, [header(GOOD_ZIP, size_bytes=0)], "INVALID_FIELD", "header.size_bytes"),
        _bad(
            "too large an upload",
            _UPLOAD,
            [header(GOOD_ZIP, size_bytes=2**28 + 1)],
            "INVALID_FIELD",
            "header.size_bytes",
        ),
        _bad("a digest of capitals", _UPLOAD, [header(GOOD_ZIP, sha256="A" * 64)], "INVALID_FIELD", "header.sha256"),
        _bad("an empty chunk", _UPLOAD, [header(GOOD_ZIP), chunk(b"")], "INVALID_FIELD", "chunk"),
        _bad("a large chunk", _UPLOAD, [header(GOOD_ZIP), chunk(bytes(MIB + 1))], "INVALID_FIELD", "chunk"),
        _bad("a huge chunk", _UPLOAD, [chunk(bytes(5 * MIB))], "REQUEST_TOO_LARGE", says="chunks"),
        _bad("garbage after the header", _UPLOAD, [header(GOOD_ZIP), GARBAGE], "MALFORMED_REQUEST"),
        _bad("an unknown artifact", "ArtifactService/GetArtifact", get, "ARTIFACT_NOT_FOUND", says=_UNKNOWN_SHA256),
        _bad("an unknown one downloaded", "ArtifactService/DownloadArtifact", download, "ARTIFACT_NOT_FOUND"),
    ]


def _invocations() -> list[Bad]:
    kind = ErrorKind.INVALID_ARGUMENT

    def payload(size: int) -> Bad:
        def requests() -> list[Message]:
            return [_invoke(payload=bytes(size))]

        return Bad(f"a payload of {size} bytes", _INVOKE, requests, kind, "INVALID_FIELD", "payload")

    qualifiers = ["LIVE", "0", "-1", "1.5", "9" * 19, "live ", "x" * 64, "é"]
    return [
        payload(6 * MIB + 1),
        payload(64 * MIB),
        *(
            _bad(f"the qualifier {qualifier!r}", _INVOKE, _invoke(qualifier=qualifier), "INVALID_FIELD", "qualifier")
            for qualifier in qualifiers
        ),
        _bad("a long media type", _INVOKE, _invoke(content_type="x" * 129), "INVALID_FIELD", "content_type"),
        _bad("an unknown function", _INVOKE, _invoke(name="functions/no"), "FUNCTION_NOT_FOUND", says="no"),
        _bad("another tenant's function", _INVOKE, _invoke(name="functions/bobs"), "FUNCTION_NOT_FOUND", says="bobs"),
        _bad("an unknown alias", _INVOKE, _invoke(qualifier="canary"), "ALIAS_NOT_FOUND", says="canary"),
        _bad("an unknown version", _INVOKE, _invoke(qualifier="99"), "VERSION_NOT_FOUND", says="99"),
        _bad(
            "a function without live", _INVOKE, _invoke(name="functions/draft"), "ALIAS_NOT_FOUND", says="stoker deploy"
        ),
    ]


def _logs() -> list[Bad]:
    tail = logs_pb2.TailLogsRequest
    method = "LogService/TailLogs"
    return [
        _bad("less than no lines", method, tail(name="functions/hello", limit=-1), "INVALID_FIELD", "limit"),
        _bad("too many lines", method, tail(name="functions/hello", limit=10_001), "INVALID_FIELD", "limit"),
        _bad("an unknown function's lines", method, tail(name="functions/no"), "FUNCTION_NOT_FOUND"),
        _bad("another tenant's lines", method, tail(name="functions/bobs", follow=True), "FUNCTION_NOT_FOUND"),
    ]


def _tenants() -> list[Bad]:
    create, key = tenants_pb2.CreateTenantRequest, tenants_pb2.CreateApiKeyRequest
    revoke = tenants_pb2.RevokeApiKeyRequest
    return [
        _bad("a tenant of no name", _CREATE_TENANT, create(tenant_id="Ann!"), "INVALID_FIELD", "tenant_id"),
        _bad(
            "a tenant of a long name",
            _CREATE_TENANT,
            create(tenant_id="x" * 64),
            "INVALID_FIELD",
            "tenant_id",
        ),
        _bad("a tenant made twice", _CREATE_TENANT, create(tenant_id="ann"), "TENANT_EXISTS", "tenant_id"),
        _bad(
            "an unknown tenant's key",
            "TenantService/CreateApiKey",
            key(tenant_id="no"),
            "TENANT_NOT_FOUND",
            "tenant_id",
        ),
        _bad("an unknown key", "TenantService/RevokeApiKey", revoke(key_id="0" * 16), "API_KEY_NOT_FOUND", "key_id"),
        _bad("a whole key", "TenantService/RevokeApiKey", revoke(key_id="stk." + "0" * 16), "INVALID_FIELD", "key_id"),
    ]


def _rollouts() -> list[Bad]:
    def start(*steps: int, seconds: int = 60, **fields: Any) -> rollouts_pb2.StartRolloutRequest:
        told: dict[str, Any] = {"alias": "live", "to_version": 2, "every": Duration(seconds=seconds)} | fields
        rollout = rollouts_pb2.Rollout(steps=steps or (10, 100), **told)
        return rollouts_pb2.StartRolloutRequest(parent="functions/hello", rollout=rollout)

    name = f"functions/hello/rollouts/{'0' * 32}"
    back = rollouts_pb2.RollBackRequest
    return [
        _bad("steps that do not end", _START_ROLLOUT, start(10, 50), "INVALID_FIELD", "rollout.steps"),
        _bad("steps that fall", _START_ROLLOUT, start(50, 10, 100), "INVALID_FIELD", "rollout.steps"),
        _bad("no time for a step", _START_ROLLOUT, start(seconds=0), "INVALID_FIELD", "rollout.every"),
        _bad("a missing version", _START_ROLLOUT, start(to_version=9), "VERSION_NOT_FOUND", "rollout.to_version"),
        _bad("to where it is", _START_ROLLOUT, start(to_version=1), "INVALID_FIELD", "rollout.to_version"),
        _bad("a missing alias", _START_ROLLOUT, start(alias="no"), "ALIAS_NOT_FOUND"),
        *(
            _bad(f"{what} that is none", f"RolloutService/{what}Rollout", request(name=name), "ROLLOUT_NOT_FOUND")
            for what, request in (
                ("Pause", rollouts_pb2.PauseRolloutRequest),
                ("Resume", rollouts_pb2.ResumeRolloutRequest),
                ("Abort", rollouts_pb2.AbortRolloutRequest),
                ("Get", rollouts_pb2.GetRolloutRequest),
            )
        ),
        _bad(
            "to nothing",
            "RolloutService/RollBack",
            back(name="functions/hello/aliases/live"),
            "NO_EARLIER_VERSION",
            "version",
        ),
    ]


BAD_REQUESTS = [
    *_names(),
    *_functions(),
    *_pages(),
    *_versions(),
    *_aliases(),
    *_rollouts(),
    *_concurrency(),
    *_artifacts(),
    *_invocations(),
    *_logs(),
    *_tenants(),
]
