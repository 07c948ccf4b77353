"""Containers of new versions that are loaded before anybody calls them, as whoever publishes asks."""

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_codestore import wire
from stoker_codestore.routes import Routes
from stoker_codestore.scheduler import Scheduler

log = structlog.get_logger()


class Prewarming:
    """Passes on to the scheduler what is asked for. Publishing does not wait for it, and does not fail by it."""

    def __init__(self, routes: Routes, scheduler: Scheduler, tasks: Background) -> None:
        self._routes = routes
        self._scheduler = scheduler
        self._tasks = tasks

    def begin(self, tenant: str, function: str, number: int, containers: int) -> None:
        """Has so many containers of a version loaded."""
        self._tasks.start(self._prewarm(tenant, function, number, containers), f"prewarm {tenant}/{function}")

    async def _prewarm(self, tenant: str, function: str, number: int, containers: int) -> None:
        try:
            (route,) = (await self._routes.resolve(tenant, function, str(number))).routes
        except StokerError as error:
            log.warning("prewarm.failed", tenant=tenant, function=function, message=error.message)
            return
        await self._scheduler.prewarm(wire.route_message(tenant, function, route).spec, containers)
