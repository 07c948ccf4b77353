"""The codestore, as the frontend asks it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
import grpc.aio
from stoker_protos.codestore.v1 import (
    codestore_pb2,
    codestore_pb2_grpc,
    loads_pb2,
    loads_pb2_grpc,
    outcomes_pb2,
    outcomes_pb2_grpc,
)
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    concurrency_pb2,
    concurrency_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
)
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.metadata import TENANT
from stoker_service.status import error_from_rpc

from stoker_frontend import errors
from stoker_frontend.concurrency import Setting
from stoker_frontend.outcomes import Counts, Way
from stoker_frontend.rollover_status import LoadFailure, Terms
from stoker_frontend.routes import Previous, RolloverRule, RouteKey, Routes, Version, WeightedVersion
from stoker_frontend.runs import FunctionFailure
from stoker_frontend.wire import (
    failure_from_proto,
    failure_to_proto,
    setting_from_proto,
    setting_name,
    setting_to_proto,
)

ANSWER_S = 5.0
"""How long the codestore may take to answer, in seconds."""


class Codestore:
    """Routes, what is set for functions, and whether one exists."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._routes = codestore_pb2_grpc.RouteServiceStub(channel)
        self._loads = loads_pb2_grpc.LoadServiceStub(channel)
        self._outcomes = outcomes_pb2_grpc.OutcomeServiceStub(channel)
        self._aliases = aliases_pb2_grpc.AliasServiceStub(channel)
        self._functions = functions_pb2_grpc.FunctionServiceStub(channel)
        self._concurrency = concurrency_pb2_grpc.ConcurrencyServiceStub(channel)

    async def resolve(self, key: RouteKey) -> Routes:
        """Resolves a qualifier.

        Raises:
            StokerError: CODESTORE_UNAVAILABLE, or why there is no such route.
        """
        request = codestore_pb2.ResolveRouteRequest(tenant=key.tenant, function=key.function, qualifier=key.qualifier)
        try:
            response = await self._routes.ResolveRoute(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        now_s = asyncio.get_running_loop().time()
        previous: dict[str, list[Previous]] = {}
        for each in response.previous:
            previous.setdefault(each.instead_of, []).append(_previous(each, now_s))
        return tuple(
            WeightedVersion(_version(route.spec, previous.get(route.spec.uid, ())), route.weight)
            for route in response.routes
        )

    async def report_load(
        self, version_uid: str, failure: FunctionFailure | None, failures: int, retry_s: float
    ) -> None:
        """Tells how loading a version ended.

        Raises:
            StokerError: CODESTORE_UNAVAILABLE.
        """
        request = loads_pb2.ReportLoadRequest(
            version_uid=version_uid,
            error=failure_to_proto(failure) if failure else None,
            failures=failures,
            retry_ms=round(retry_s * 1000),
        )
        try:
            await self._loads.ReportLoad(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error

    async def report_outcomes(self, counts: Mapping[Way, Counts]) -> None:
        """Tells how calls of weighted aliases went.

        Raises:
            StokerError: CODESTORE_UNAVAILABLE; it may know.
        """
        request = outcomes_pb2.ReportOutcomesRequest(counts=[_counts(way, each) for way, each in counts.items()])
        try:
            await self._outcomes.ReportOutcomes(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure

    async def watch_routes(self) -> AsyncIterator[tuple[str, str] | None]:
        """Yields None once the watch has begun, then each tenant and function whose routes have changed.

        Raises:
            StokerError: The watch broke.
        """
        try:
            async for change in self._routes.WatchRoutes(codestore_pb2.WatchRoutesRequest(), wait_for_ready=True):
                yield (change.tenant, change.function) if change.function else None
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure

    async def get_terms(self, tenant: str, function: str) -> Terms:
        """What is set for a function's rollovers.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        request = functions_pb2.GetFunctionRequest(name=f"functions/{function}")
        try:
            response = await self._functions.GetFunction(request, timeout=ANSWER_S, metadata=((TENANT, tenant),))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        return Terms(response.function.rollover_policy, response.function.max_staleness_s)

    async def get_load_failure(self, tenant: str, function: str, alias: str) -> LoadFailure | None:
        """What of an alias fails to load.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        request = aliases_pb2.GetAliasRequest(name=f"functions/{function}/aliases/{alias}")
        try:
            response = await self._aliases.GetAlias(request, timeout=ANSWER_S, metadata=((TENANT, tenant),))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        if not response.alias.HasField("load_failure"):
            return None
        failed = response.alias.load_failure
        return LoadFailure(
            failed.version,
            failure_from_proto(failed.error),
            failed.failures,
            failed.time.ToNanoseconds(),
            failed.retry_time.ToNanoseconds(),
        )

    async def check_function(self, tenant: str, function: str) -> None:
        """Returns if the tenant has the function.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        request = functions_pb2.GetFunctionRequest(name=f"functions/{function}")
        try:
            await self._functions.GetFunction(request, timeout=ANSWER_S, metadata=((TENANT, tenant),))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure

    async def get_concurrency(self, tenant: str, function: str, alias: str) -> Setting:
        """Returns what is set for a function, or for an alias of it.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        request = concurrency_pb2.GetConcurrencyRequest(name=setting_name(function, alias))
        try:
            response = await self._concurrency.GetConcurrency(request, timeout=ANSWER_S, metadata=((TENANT, tenant),))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        return setting_from_proto(response.concurrency)

    async def set_concurrency(self, tenant: str, setting: Setting) -> Setting:
        """Puts a setting in the place of the one before.

        Raises:
            StokerError: INVALID_FIELD, FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        request = concurrency_pb2.UpdateConcurrencyRequest(concurrency=setting_to_proto(setting))
        metadata = ((TENANT, tenant),)
        try:
            response = await self._concurrency.UpdateConcurrency(request, timeout=ANSWER_S, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        return setting_from_proto(response.concurrency)

    async def list_concurrency(self, tenant: str, function: str) -> Sequence[Setting]:
        """What is set for a function and its aliases.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        request = concurrency_pb2.ListConcurrencyRequest(parent=f"functions/{function}")
        try:
            response = await self._concurrency.ListConcurrency(request, timeout=ANSWER_S, metadata=((TENANT, tenant),))
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        return [setting_from_proto(setting) for setting in response.settings]


def _version(spec: codestore_pb2.VersionSpec, previous: Sequence[Previous] = ()) -> Version:
    encoded = spec.SerializeToString()
    return Version(spec.uid, spec.number, spec.timeout_s, encoded, spec.concurrency or 1, tuple(previous))


def _previous(previous: codestore_pb2.PreviousSpec, now_s: float) -> Previous:
    return Previous(
        _version(previous.spec),
        now_s + previous.remaining_ms / 1000,
        RolloverRule(previous.rule) if previous.rule else None,
        tuple(previous.differing_fields),
        previous.is_needed,
    )


def _counts(way: Way, counts: Counts) -> outcomes_pb2.OutcomeCounts:
    return outcomes_pb2.OutcomeCounts(
        tenant=way.route.tenant,
        function=way.route.function,
        alias=way.route.qualifier,
        version_uid=way.version_uid,
        weight=way.weight,
        calls=counts.calls,
        errors=counts.errors,
        durations=counts.durations,
    )


def error_of(failure: grpc.aio.AioRpcError) -> StokerError:
    """What a caller is told of a failed call to the codestore."""
    error = error_from_rpc(failure)
    away = (ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED, ErrorKind.CANCELLED)
    return errors.codestore_unavailable() if error.kind in away else error
