"""New versions go to the hosts that will need them, before anybody calls them.

Which those are: hosts with VMs of the tenant, hosts that have code of the function's other versions, and a few that the
scheduler names, which knows where there is room. What is pushed is always looked up, so a change that is told twice, or
late, does no harm.
"""

import asyncio
from collections.abc import Collection
from contextlib import aclosing
from typing import Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_codestore.deliveries import Deliveries
from stoker_codestore.delivery_targets import DeliveryTargets, Published
from stoker_codestore.distribution import ArtifactKey
from stoker_codestore.watches import RouteChange, Watches

log = structlog.get_logger()

AGAIN_S = 0.5
"""How long after a watch has ended it is begun again, in seconds."""
AT_ONCE = 16
"""How many functions are looked at at the same time."""


class Chooser(Protocol):
    """The scheduler."""

    async def choose_hosts(self, tenant: str, memory_mib: int) -> Collection[str]:
        """The hosts on which a tenant's containers would come first; none where it does not know, or is away."""
        ...


class PushAhead:
    """Watches for versions, and has them delivered."""

    def __init__(
        self, deliveries: Deliveries, targets: DeliveryTargets, chooser: Chooser, watches: Watches, tasks: Background
    ) -> None:
        """Pushes nothing before it runs.

        Args:
            deliveries: What delivers.
            targets: What hosts should have.
            chooser: What names more hosts.
            watches: What tells of changes.
            tasks: What owns the work.
        """
        self._deliveries = deliveries
        self._targets = targets
        self._chooser = chooser
        self._watches = watches
        self._tasks = tasks
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Pushes what is published until it is cancelled."""
        while True:
            try:
                async with aclosing(self._watches.watch()) as changes:
                    async for change in changes:
                        if change is not None and self._deliveries.hosts():
                            await self._gate.acquire()
                            self._tasks.start(self._push_changed(change), f"push {change.tenant}/{change.function}")
            except StokerError as error:
                log.info("push_ahead.unwatched", message=error.message)
            await asyncio.sleep(AGAIN_S)

    async def push(self, tenant: str, function: str) -> None:
        """Has a function's versions delivered, those that are newest or that aliases name.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        versions = await self._targets.of_function(tenant, function)
        if not versions or not self._deliveries.hosts():
            return
        others = await self._targets.artifacts_of_function(tenant, function)
        named = await self._named(tenant, versions)
        for host in self._deliveries.hosts():
            holds = not self._deliveries.held_by(host.id).isdisjoint(others)
            if tenant in host.tenants or host.id in named or holds:
                for artifact in {artifact for version in versions for artifact in version.artifacts}:
                    self._deliveries.want(artifact, [host.id])

    async def bring_up(self, host: str, tenants: Collection[str], artifacts: Collection[ArtifactKey]) -> None:
        """Has delivered to a host that has come up what it should have.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        owners = {*tenants, *(artifact.tenant for artifact in artifacts)}
        for artifact in await self._targets.of_host(owners):
            self._deliveries.want(artifact, [host])

    async def _push_changed(self, change: RouteChange) -> None:
        try:
            await self.push(change.tenant, change.function)
        except StokerError as error:
            # Hosts fetch it when they need it.
            log.warning("push_ahead.failed", tenant=change.tenant, function=change.function, message=error.message)
        finally:
            self._gate.release()

    async def _named(self, tenant: str, versions: Collection[Published]) -> Collection[str]:
        return await self._chooser.choose_hosts(tenant, max(version.memory_mib for version in versions))
