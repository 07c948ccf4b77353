"""What is set for functions and aliases, and how things stand: the codestore knows the one, the scheduler the other."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from stoker_service.errors import ErrorKind, StokerError

from stoker_frontend.routes import RouteKey
from stoker_frontend.routing import Router

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Setting:
    """What is set for a function, or for an alias of it."""

    function: str
    alias: str
    """Empty for the function's own."""
    provisioned: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Usage:
    """How many containers there are."""

    loaded: int
    """Those that have the code loaded."""
    leased: int
    """Those of them that are under a lease."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A setting, and the containers of what it is of."""

    setting: Setting
    usage: Usage | None
    """None while the scheduler is away."""


class Settings(Protocol):
    """Who keeps what is set: the codestore. Each call raises CODESTORE_UNAVAILABLE, or why it is refused."""

    async def get_concurrency(self, tenant: str, function: str, alias: str) -> Setting:
        """Returns a setting."""
        ...

    async def set_concurrency(self, tenant: str, setting: Setting) -> Setting:
        """Puts a setting in the place of the one before."""
        ...

    async def list_concurrency(self, tenant: str, function: str) -> Sequence[Setting]:
        """What is set for a function and its aliases."""
        ...


class UsageSource(Protocol):
    """Who knows the containers: the scheduler."""

    async def usage(self, tenant: str, function: str) -> Mapping[int, Usage]:
        """The containers of each version of a function that has any, or raises StokerError."""
        ...


class Concurrency:
    """Settings with how things stand. They are shown without that while the scheduler is away."""

    def __init__(self, settings: Settings, source: UsageSource, router: Router) -> None:
        self._settings = settings
        self._source = source
        self._router = router

    async def get(self, tenant: str, function: str, alias: str) -> Standing:
        """Returns a setting, the function's own where `alias` is empty.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        setting = await self._settings.get_concurrency(tenant, function, alias)
        [standing] = await self._standings(tenant, function, [setting])
        return standing

    async def set(self, tenant: str, wanted: Setting) -> Standing:
        """Puts a setting in the place of the one before.

        Raises:
            StokerError: INVALID_FIELD, FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        setting = await self._settings.set_concurrency(tenant, wanted)
        [standing] = await self._standings(tenant, setting.function, [setting])
        return standing

    async def list(self, tenant: str, function: str) -> Sequence[Standing]:
        """What is set for a function and its aliases, the function's own first.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or CODESTORE_UNAVAILABLE.
        """
        return await self._standings(tenant, function, await self._settings.list_concurrency(tenant, function))

    async def _standings(self, tenant: str, function: str, settings: Sequence[Setting]) -> Sequence[Standing]:
        if not settings:
            return []
        try:
            by_version = await self._source.usage(tenant, function)
        except StokerError as error:
            log.warning("usage.unknown", tenant=tenant, function=function, reason=error.reason)
            return [Standing(setting, None) for setting in settings]
        return [
            Standing(setting, usage_of(by_version, await self._versions_of(tenant, setting))) for setting in settings
        ]

    async def _versions_of(self, tenant: str, setting: Setting) -> Collection[int] | None:
        """The versions that a setting is of; None for all of its function."""
        if not setting.alias:
            return None
        try:
            routes = await self._router.routes(RouteKey(tenant, setting.function, setting.alias))
        except StokerError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            # It has been deleted since its setting was read.
            return ()
        return {route.version.number for route in routes}


def usage_of(by_version: Mapping[int, Usage], versions: Collection[int] | None) -> Usage:
    """The containers of some versions together; of all where `versions` is None."""
    counted = [usage for number, usage in by_version.items() if versions is None or number in versions]
    return Usage(sum(usage.loaded for usage in counted), sum(usage.leased for usage in counted))
