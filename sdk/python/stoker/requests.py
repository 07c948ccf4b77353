"""Every call of the public API but the artifacts', as a value."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from stoker_protos.v1 import (
    aliases_pb2,
    concurrency_pb2,
    functions_pb2,
    invocations_pb2,
    logs_pb2,
    versions_pb2,
)

from stoker import wire
from stoker.calls import Listing, Page, Stream, StreamOf, Unary, UnaryOf
from stoker.errors import InvalidArgument
from stoker.models import JSON, Alias, Concurrency, Function, InvokeResult, LogLine, Runtime, Version, VersionOptions
from stoker.names import (
    alias_path,
    check_handler,
    check_qualifier,
    concurrency_path,
    function_path,
    layer_version_path,
    split_layer,
    version_path,
)
from stoker.retries import Retry
from stoker.signing import Signature

LONGEST_INVOCATION_S = 990.0
"""Longer than any invocation can take: 60 s of waiting, 900 s of running, and a margin."""
LOGS_TIMEOUT_S = 60.0
BYTES = "application/octet-stream"

_AGAIN = Retry.WHEN_UNAVAILABLE


def create_function(name: str, description: str = "") -> UnaryOf[Function]:
    """Makes a function without versions."""
    function = functions_pb2.Function(name=function_path(name), description=description)
    return Unary(
        lambda stubs: stubs.functions.CreateFunction,
        functions_pb2.CreateFunctionRequest(function=function),
        lambda response: wire.function_of(response.function),
    )


def get_function(name: str) -> UnaryOf[Function]:
    """Returns a function."""
    return Unary(
        lambda stubs: stubs.functions.GetFunction,
        functions_pb2.GetFunctionRequest(name=function_path(name)),
        lambda response: wire.function_of(response.function),
        _AGAIN,
    )


def list_functions() -> Listing[Function]:
    """Lists the functions by name."""
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.functions.ListFunctions,
            functions_pb2.ListFunctionsRequest(page_token=token),
            lambda response: Page([wire.function_of(each) for each in response.functions], response.next_page_token),
            _AGAIN,
        )
    )


def update_function(
    name: str, *, description: str | None = None, versions_kept: int | None = None, etag: str = ""
) -> UnaryOf[Function]:
    """Changes a function's description and how many versions are kept; None leaves a setting as it is."""
    function = functions_pb2.Function(
        name=function_path(name), description=description or "", versions_kept=versions_kept or 0, etag=etag
    )
    given = {"description": description, "versions_kept": versions_kept}
    mask = FieldMask(paths=[path for path, value in given.items() if value is not None])
    return Unary(
        lambda stubs: stubs.functions.UpdateFunction,
        functions_pb2.UpdateFunctionRequest(function=function, update_mask=mask),
        lambda response: wire.function_of(response.function),
        Retry.NEVER if etag else _AGAIN,
    )


def delete_function(name: str, etag: str = "") -> UnaryOf[None]:
    """Deletes a function with its versions and aliases."""
    return Unary(
        lambda stubs: stubs.functions.DeleteFunction,
        functions_pb2.DeleteFunctionRequest(name=function_path(name), etag=etag),
        _nothing,
    )


def publish_version(
    function: str,
    artifact_sha256: str,
    options: VersionOptions,
    *,
    signature: Signature | None = None,
    prewarm: int = 0,
    validate_only: bool = False,
) -> UnaryOf[Version]:
    """Publishes a function's next version."""
    version = versions_pb2.Version(
        artifact=f"artifacts/{artifact_sha256}",
        runtime=_runtime(options["runtime"]),
        handler=check_handler(options["handler"]),
        memory_mib=options.get("memory_mib", 0),
        timeout_s=options.get("timeout_s", 0),
        environment=options.get("environment", {}),
        tmp_mib=options.get("tmp_mib", 0),
        description=options.get("description", ""),
        concurrency=options.get("concurrency", 0),
        layers=[layer_version_path(*split_layer(layer, "layers")) for layer in options.get("layers", ())],
        signature=versions_pb2.CodeSignature(key_id=signature.key_id, signature=signature.signature)
        if signature
        else None,
    )
    return Unary(
        lambda stubs: stubs.versions.PublishVersion,
        versions_pb2.PublishVersionRequest(
            parent=function_path(function), version=version, validate_only=validate_only, prewarm=prewarm
        ),
        lambda response: wire.version_of(response.version),
        _AGAIN,
    )


def get_version(function: str, number: int) -> UnaryOf[Version]:
    """Returns a version."""
    return Unary(
        lambda stubs: stubs.versions.GetVersion,
        versions_pb2.GetVersionRequest(name=version_path(function, number)),
        lambda response: wire.version_of(response.version),
        _AGAIN,
    )


def list_versions(function: str) -> Listing[Version]:
    """Lists a function's versions, newest first."""
    parent = function_path(function)
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.versions.ListVersions,
            versions_pb2.ListVersionsRequest(parent=parent, page_token=token),
            lambda response: Page([wire.version_of(each) for each in response.versions], response.next_page_token),
            _AGAIN,
        )
    )


def delete_version(function: str, number: int) -> UnaryOf[None]:
    """Deletes a version that no alias names."""
    return Unary(
        lambda stubs: stubs.versions.DeleteVersion,
        versions_pb2.DeleteVersionRequest(name=version_path(function, number)),
        _nothing,
    )


def create_alias(function: str, alias: str, routes: Mapping[int, int]) -> UnaryOf[Alias]:
    """Makes an alias."""
    return Unary(
        lambda stubs: stubs.aliases.CreateAlias,
        aliases_pb2.CreateAliasRequest(alias=_alias(function, alias, routes)),
        lambda response: wire.alias_of(response.alias),
    )


def get_alias(function: str, alias: str) -> UnaryOf[Alias]:
    """Returns an alias."""
    return Unary(
        lambda stubs: stubs.aliases.GetAlias,
        aliases_pb2.GetAliasRequest(name=alias_path(function, alias)),
        lambda response: wire.alias_of(response.alias),
        _AGAIN,
    )


def list_aliases(function: str) -> Listing[Alias]:
    """Lists a function's aliases by name."""
    parent = function_path(function)
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.aliases.ListAliases,
            aliases_pb2.ListAliasesRequest(parent=parent, page_token=token),
            lambda response: Page([wire.alias_of(each) for each in response.aliases], response.next_page_token),
            _AGAIN,
        )
    )


def set_alias(
    function: str, alias: str, routes: Mapping[int, int], *, etag: str = "", allow_missing: bool = True
) -> UnaryOf[Alias]:
    """Points an alias at versions, with the share of each in percent."""
    return Unary(
        lambda stubs: stubs.aliases.UpdateAlias,
        aliases_pb2.UpdateAliasRequest(alias=_alias(function, alias, routes, etag), allow_missing=allow_missing),
        lambda response: wire.alias_of(response.alias),
        Retry.NEVER if etag else _AGAIN,
    )


def delete_alias(function: str, alias: str) -> UnaryOf[None]:
    """Deletes an alias."""
    return Unary(
        lambda stubs: stubs.aliases.DeleteAlias,
        aliases_pb2.DeleteAliasRequest(name=alias_path(function, alias)),
        _nothing,
    )


def get_concurrency(function: str, alias: str) -> UnaryOf[Concurrency]:
    """Returns what is set for a function or an alias, and how things stand."""
    return Unary(
        lambda stubs: stubs.concurrency.GetConcurrency,
        concurrency_pb2.GetConcurrencyRequest(name=concurrency_path(function, alias)),
        lambda response: wire.concurrency_of(response.concurrency),
        _AGAIN,
    )


def set_concurrency(function: str, alias: str, *, provisioned: int, maximum: int) -> UnaryOf[Concurrency]:
    """Sets a function's or an alias's concurrency."""
    concurrency = concurrency_pb2.Concurrency(
        name=concurrency_path(function, alias), provisioned=provisioned, maximum=maximum
    )
    return Unary(
        lambda stubs: stubs.concurrency.UpdateConcurrency,
        concurrency_pb2.UpdateConcurrencyRequest(concurrency=concurrency),
        lambda response: wire.concurrency_of(response.concurrency),
        _AGAIN,
    )


def list_concurrency(function: str) -> UnaryOf[Sequence[Concurrency]]:
    """Lists what is set for a function and its aliases."""
    return Unary(
        lambda stubs: stubs.concurrency.ListConcurrency,
        concurrency_pb2.ListConcurrencyRequest(parent=function_path(function)),
        lambda response: [wire.concurrency_of(setting) for setting in response.settings],
        _AGAIN,
    )


def invoke(
    name: str,
    data: Any,
    *,
    qualifier: str,
    timeout_s: float | None,
    content_type: str,
    log_tail: bool,
    session_key: str,
) -> UnaryOf[InvokeResult]:
    """Runs a function once."""
    payload, content_type = _payload(data, content_type)
    return Unary(
        lambda stubs: stubs.invocations.Invoke,
        invocations_pb2.InvokeRequest(
            name=function_path(name),
            qualifier=check_qualifier(qualifier),
            payload=payload,
            content_type=content_type,
            log_tail=log_tail,
            session_key=session_key,
        ),
        wire.invoke_result_of,
        Retry.WHEN_NOTHING_RAN,
        LONGEST_INVOCATION_S if timeout_s is None else timeout_s,
    )


def tail_logs(function: str, *, follow: bool, limit: int) -> StreamOf[LogLine]:
    """Reads a function's log lines."""
    return Stream(
        lambda stubs: stubs.logs.TailLogs,
        logs_pb2.TailLogsRequest(name=function_path(function), follow=follow, limit=limit),
        wire.log_line_of,
        None if follow else LOGS_TIMEOUT_S,
    )


def _payload(data: Any, content_type: str) -> tuple[bytes, str]:
    """The bytes of `data`, and their media type. Bytes are sent as they are, anything else as JSON."""
    if isinstance(data, bytes):
        return data, content_type or BYTES
    if content_type not in ("", JSON):
        raise InvalidArgument(
            "INVALID_PAYLOAD",
            f"data: content type {content_type!r} needs bytes, not {type(data).__name__}; encode it first",
            field="data",
        )
    try:
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(), JSON
    except (TypeError, ValueError) as error:
        raise InvalidArgument("INVALID_PAYLOAD", f"data: cannot be sent as JSON: {error}", field="data") from error


def _alias(function: str, alias: str, routes: Mapping[int, int], etag: str = "") -> aliases_pb2.Alias:
    return aliases_pb2.Alias(
        name=alias_path(function, alias),
        routes=[aliases_pb2.WeightedVersion(version=version, weight=weight) for version, weight in routes.items()],
        etag=etag,
    )


def _runtime(runtime: Runtime | str) -> versions_pb2.Runtime.ValueType:
    for known, number in wire.RUNTIMES.items():
        if runtime == known:
            return number
    raise InvalidArgument(
        "INVALID_RUNTIME", f"runtime: {str(runtime)!r} is none; there are {', '.join(wire.RUNTIMES)}", field="runtime"
    )


def _nothing(_response: Message) -> None:
    return None
