"""How an alias stands while what it points to changes.

The codestore knows what it pointed to before, the scheduler what is loaded.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from stoker_service.errors import StokerError

from stoker_frontend.concurrency import UsageSource
from stoker_frontend.rollover import answering
from stoker_frontend.rollovers import Rollovers
from stoker_frontend.routes import Previous, RouteKey, Routes, WeightedVersion
from stoker_frontend.routing import Router
from stoker_frontend.runs import FunctionFailure

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """That a version could not be loaded when it was tried last."""

    version: int
    failure: FunctionFailure
    failures: int
    """How often in a row."""
    time_ns: int
    retry_time_ns: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What is set for a function's rollovers."""

    policy: int
    """A value of `stoker.v1.RolloverPolicy`."""
    max_staleness_s: int


@dataclass(frozen=True, slots=True)
class Target:
    """A version that the alias points to."""

    route: WeightedVersion
    loaded: int
    answering: int
    """The version that answers its requests now; 0 where the next one waits."""


@dataclass(frozen=True, slots=True)
class Before:
    """A version that the alias pointed to before."""

    previous: Previous
    loaded: int
    remaining_s: float


@dataclass(frozen=True, slots=True)
class RolloverStatus:
    """How an alias stands."""

    targets: Sequence[Target]
    previous: Sequence[Before]
    terms: Terms
    load_failure: LoadFailure | None
    is_usage_known: bool


class AliasSource(Protocol):
    """Who knows aliases and functions: the codestore. Each call raises CODESTORE_UNAVAILABLE, or why it is refused."""

    async def get_terms(self, tenant: str, function: str) -> Terms:
        """What is set for a function's rollovers."""
        ...

    async def get_load_failure(self, tenant: str, function: str, alias: str) -> LoadFailure | None:
        """What of an alias fails to load."""
        ...


class RolloverStatuses:
    """Tells how aliases stand."""

    def __init__(self, source: AliasSource, usage: UsageSource, router: Router, rollovers: Rollovers) -> None:
        self._source = source
        self._usage = usage
        self._router = router
        self._rollovers = rollovers

    async def get(self, tenant: str, function: str, alias: str) -> RolloverStatus:
        """How an alias stands. Containers are not counted while the scheduler is away.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        terms = await self._source.get_terms(tenant, function)
        failure = await self._source.get_load_failure(tenant, function, alias)
        routes = await self._router.routes(RouteKey(tenant, function, alias))
        loaded = await self._loaded(tenant, function)
        now_s = asyncio.get_running_loop().time()
        return RolloverStatus(
            [self._target(route, loaded or {}, failure, now_s) for route in routes],
            previous_of(routes, loaded or {}, now_s),
            terms,
            failure,
            is_usage_known=loaded is not None,
        )

    def _target(
        self, route: WeightedVersion, loaded: Mapping[int, int], failure: LoadFailure | None, now_s: float
    ) -> Target:
        version = route.version
        is_told_failing = failure is not None and failure.version == version.number
        is_failing = is_told_failing or self._rollovers.is_failing(version.uid)
        number = answering(version, loaded, now_s, is_failing=is_failing)
        return Target(route, loaded.get(version.number, 0), number)

    async def _loaded(self, tenant: str, function: str) -> Mapping[int, int] | None:
        try:
            usage = await self._usage.usage(tenant, function)
        except StokerError as error:
            log.warning("usage.unknown", tenant=tenant, function=function, reason=error.reason)
            return None
        return {version: each.loaded for version, each in usage.items()}


def previous_of(routes: Routes, loaded: Mapping[int, int], now_s: float) -> Sequence[Before]:
    """The versions before any of the routes, each once, those that may answer longest first."""
    found: dict[int, Before] = {}
    for previous in (each for route in routes for each in route.version.previous):
        number = previous.version.number
        remaining_s = 0.0 if previous.hindrance else max(0.0, previous.until_s - now_s)
        if number not in found or found[number].remaining_s < remaining_s:
            found[number] = Before(previous, loaded.get(number, 0), remaining_s)
    return list(found.values())
