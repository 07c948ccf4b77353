"""Which requests, passed on to the codestore, change a function's routes."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from stoker_protos.v1 import aliases_pb2, functions_pb2, rollouts_pb2, versions_pb2

_CHANGES: dict[str, tuple[type[Any], Callable[[Any], str]]] = {
    "CreateAlias": (aliases_pb2.CreateAliasRequest, lambda request: request.alias.name),
    "UpdateAlias": (aliases_pb2.UpdateAliasRequest, lambda request: request.alias.name),
    "DeleteAlias": (aliases_pb2.DeleteAliasRequest, lambda request: request.name),
    "StartRollout": (rollouts_pb2.StartRolloutRequest, lambda request: request.parent),
    "AbortRollout": (rollouts_pb2.AbortRolloutRequest, lambda request: request.name),
    "RollBack": (rollouts_pb2.RollBackRequest, lambda request: request.name),
    "PublishVersion": (versions_pb2.PublishVersionRequest, lambda request: request.parent),
    "DeleteVersion": (versions_pb2.DeleteVersionRequest, lambda request: request.name),
    "CreateFunction": (functions_pb2.CreateFunctionRequest, lambda request: request.function.name),
    "DeleteFunction": (functions_pb2.DeleteFunctionRequest, lambda request: request.name),
}


def changed_function(method: str, request: bytes) -> str | None:
    """The function whose routes a request may change; None where it changes none."""
    if method not in _CHANGES:
        return None
    message_class, name_in = _CHANGES[method]
    try:
        name = name_in(message_class.FromString(request))
    except DecodeError:
        return None
    collection, _, rest = name.partition("/")
    return rest.partition("/")[0] or None if collection == "functions" else None
