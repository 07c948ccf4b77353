"""Calls as values: what to send where, how long it may take, what comes of the answer.

All that a call is stands here and in `requests.py`, once, without I/O. How one is carried out is in `client.py` and
`aio.py`, which differ in nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
from stoker_protos.admin.v1 import fleet_pb2_grpc, tenant_policies_pb2_grpc, tenants_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2_grpc,
    artifacts_pb2_grpc,
    concurrency_pb2_grpc,
    deliveries_pb2_grpc,
    functions_pb2_grpc,
    invocations_pb2_grpc,
    layers_pb2_grpc,
    logs_pb2_grpc,
    rollouts_pb2_grpc,
    rollovers_pb2_grpc,
    signing_keys_pb2_grpc,
    versions_pb2_grpc,
)

from stoker.retries import Retry

Result = TypeVar("Result")
Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")

DEFAULT_TIMEOUT_S = 30.0
"""How long a call may take where its caller says nothing, in seconds."""


class Stubs:
    """The stubs of all services on one channel, a blocking or an asyncio one."""

    def __init__(self, channel: Any) -> None:
        """Makes them; `channel` is a `grpc.Channel` or a `grpc.aio.Channel`."""
        # The types of generated stubs say that both kinds have the same methods only for the first kind.
        blocking: grpc.Channel = channel
        self.functions = functions_pb2_grpc.FunctionServiceStub(blocking)
        self.versions = versions_pb2_grpc.VersionServiceStub(blocking)
        self.aliases = aliases_pb2_grpc.AliasServiceStub(blocking)
        self.artifacts = artifacts_pb2_grpc.ArtifactServiceStub(blocking)
        self.deliveries = deliveries_pb2_grpc.DeliveryServiceStub(blocking)
        self.rollouts = rollouts_pb2_grpc.RolloutServiceStub(blocking)
        self.layers = layers_pb2_grpc.LayerServiceStub(blocking)
        self.rollovers = rollovers_pb2_grpc.RolloverServiceStub(blocking)
        self.concurrency = concurrency_pb2_grpc.ConcurrencyServiceStub(blocking)
        self.invocations = invocations_pb2_grpc.InvocationServiceStub(blocking)
        self.logs = logs_pb2_grpc.LogServiceStub(blocking)
        self.tenants = tenants_pb2_grpc.TenantServiceStub(blocking)
        self.tenant_policies = tenant_policies_pb2_grpc.TenantPolicyServiceStub(blocking)
        self.signing_keys = signing_keys_pb2_grpc.SigningKeyServiceStub(blocking)
        self.fleet = fleet_pb2_grpc.FleetServiceStub(blocking)


@dataclass(frozen=True, slots=True)
class Unary(Generic[Request, Response, Result]):
    """One request, one response."""

    method: "Callable[[Stubs], grpc.UnaryUnaryMultiCallable[Request, Response]]"
    request: Request
    parse: Callable[[Response], Result]
    retry: Retry = Retry.NEVER
    timeout_s: float = DEFAULT_TIMEOUT_S
    is_admin: bool = False
    """Whether it is of the operators' API and goes with the admin key."""


@dataclass(frozen=True, slots=True)
class Upload(Generic[Request, Response, Result]):
    """A stream of requests, one response."""

    method: "Callable[[Stubs], grpc.StreamUnaryMultiCallable[Request, Response]]"
    requests: Callable[[], Iterator[Request]]
    """Begins the stream of requests; it may block, reading a file."""
    parse: Callable[[Response], Result]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Stream(Generic[Request, Response, Result]):
    """One request, a stream of responses."""

    method: "Callable[[Stubs], grpc.UnaryStreamMultiCallable[Request, Response]]"
    request: Request
    parse: Callable[[Response], Result]
    timeout_s: float | None
    """None for a stream that goes on until its reader leaves it."""


UnaryOf: TypeAlias = Unary[Any, Any, Result]
UploadOf: TypeAlias = Upload[Any, Any, Result]
StreamOf: TypeAlias = Stream[Any, Any, Result]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list."""

    items: Sequence[Item]
    next_page_token: str
    """Empty on the last page."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """A list that comes in pages."""

    page: Callable[[str], UnaryOf[Page[Item]]]
    """The call for the page of a token; the first one's is empty."""
