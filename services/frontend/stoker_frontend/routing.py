"""Finds the version that an invocation runs, from memory where it can.

While the watch of the codestore runs, a route is resolved once and kept until the watch, or a change that went through
this frontend, says otherwise. While it does not, each is resolved again; and when the codestore cannot be reached, what
was right until not too long ago is used.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import ErrorKind, StokerError

from stoker_frontend import errors
from stoker_frontend.routes import RouteCache, RouteKey, Routes, WeightedVersion, choose
from stoker_frontend.single_flight import SingleFlight
from stoker_frontend.stickiness import in_order, point_of

log = structlog.get_logger()

DEFAULT_QUALIFIER = "live"
AWAY_S = 1.0
"""After failing to reach the codestore, how long it is not asked for routes that are still at hand, in seconds."""
WATCH_AGAIN_S = 0.2
"""How long after the watch has broken it is begun again, in seconds, at the least; half as much more by chance."""


class RouteSource(Protocol):
    """Where routes come from: the codestore."""

    async def resolve(self, key: RouteKey) -> Routes:
        """Resolves a qualifier, within a bounded time.

        Raises:
            StokerError: CODESTORE_UNAVAILABLE, or why there is no such route.
        """
        ...

    def watch_routes(self) -> AsyncIterator[tuple[str, str] | None]:
        """Yields None once the watch has begun, then each tenant and function whose routes have changed.

        Raises:
            StokerError: The watch broke.
        """
        ...


class Router:
    """The routes of all functions."""

    def __init__(self, source: RouteSource, background: Background, stale_s: float) -> None:
        self._source = source
        self._cache = RouteCache(stale_s)
        self._flights: SingleFlight[RouteKey, Routes] = SingleFlight(background)
        self._away_until_s = 0.0
        background.start(self._watch(), "watch routes")

    def remembered(self, key: RouteKey, session_key: str) -> WeightedVersion | None:
        """The version to run, where the route is known for certain; None where `route` has to find out."""
        routes = self._cache.confirmed(key)
        return _chosen(key, routes, session_key) if routes else None

    async def route(self, key: RouteKey, session_key: str) -> WeightedVersion:
        """The version to run, with its share.

        Args:
            key: What a caller asks for.
            session_key: Whose session it is, which stays with one version; empty for none.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, VERSION_NOT_FOUND; CODESTORE_UNAVAILABLE where there is
                nothing to go by without it.
        """
        return _chosen(key, await self.routes(key), session_key)

    def forget(self, tenant: str, function: str) -> None:
        """Says that a function's routes have changed, or may have."""
        self._cache.forget(tenant, function)
        self._flights.overtake(lambda key: key.tenant == tenant and key.function == function)

    async def routes(self, key: RouteKey) -> Routes:
        """The versions that may be run; raises as `route` does."""
        now_s = _now_s()
        if now_s < self._away_until_s and (stale := self._cache.unconfirmed(key, now_s)):
            return stale
        watch = self._cache.watch
        try:
            return await self._flights.load(
                key,
                lambda: self._source.resolve(key),
                lambda routes: self._cache.keep(key, routes, watch, _now_s()),
            )
        except StokerError as error:
            if error.reason == "CODESTORE_UNAVAILABLE":
                now_s = _now_s()
                self._away_until_s = now_s + AWAY_S
                if stale := self._cache.unconfirmed(key, now_s):
                    log.warning("route.unconfirmed", tenant=key.tenant, function=key.function)
                    return stale
            elif error.kind is ErrorKind.NOT_FOUND:
                self._cache.forget(key.tenant, key.function)
                if error.reason == "ALIAS_NOT_FOUND" and key.qualifier == DEFAULT_QUALIFIER:
                    raise errors.no_live_alias(key.function) from error
            raise

    async def _watch(self) -> None:
        while True:
            try:
                async for change in self._source.watch_routes():
                    if change is None:
                        self._cache.watch_began()
                        log.info("routes.watched")
                    else:
                        self.forget(*change)
            except StokerError as error:
                log.warning("routes.unwatched", reason=error.reason, message=error.message)
            self._cache.watch_lost(_now_s())
            await asyncio.sleep(WATCH_AGAIN_S * random.uniform(1, 1.5))  # noqa: S311 - spreads frontends in time


def _chosen(key: RouteKey, routes: Routes, session_key: str) -> WeightedVersion:
    if len(routes) == 1:
        return routes[0]
    if session_key:
        return choose(in_order(routes), point_of(key, session_key))
    return choose(routes, random.random())  # noqa: S311 - shares of traffic are no secret


def _now_s() -> float:
    return asyncio.get_running_loop().time()
