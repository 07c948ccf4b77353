"""The scheduler, as the codestore asks it."""

import asyncio
from collections.abc import Collection

import grpc.aio
import structlog
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import preparations_pb2, preparations_pb2_grpc

log = structlog.get_logger()

ANSWER_S = 2.0
"""How long the scheduler may take to answer, in seconds."""
PREWARM_ATTEMPTS = 5
PREWARM_AGAIN_S = 1.0


class Scheduler:
    """Where a version's containers would come, and having some loaded."""

    def __init__(self, channel: grpc.aio.Channel | None, spare_hosts: int) -> None:
        """Asks nobody where there is no channel.

        Args:
            channel: The channel to the scheduler.
            spare_hosts: How many hosts without VMs of a tenant it is to name.
        """
        self._preparations = preparations_pb2_grpc.PreparationServiceStub(channel) if channel else None
        self._spare_hosts = spare_hosts

    async def choose_hosts(self, tenant: str, memory_mib: int) -> Collection[str]:
        """The hosts on which a tenant's containers would come first; none where the scheduler does not answer."""
        if self._preparations is None:
            return ()
        request = preparations_pb2.ChooseHostsRequest(
            tenant=tenant, memory_mib=memory_mib, spare_hosts=self._spare_hosts
        )
        try:
            response = await self._preparations.ChooseHosts(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            log.warning("scheduler.not_asked", code=failure.code().name, message=failure.details())
            return ()
        return frozenset(response.hosts)

    async def prewarm(self, spec: codestore_pb2.VersionSpec, containers: int) -> None:
        """Has containers of a version loaded. A scheduler that is away is asked again a few times, and then no more."""
        if self._preparations is None:
            return
        request = preparations_pb2.PrewarmRequest(spec=spec, containers=containers)
        for _ in range(PREWARM_ATTEMPTS):
            try:
                await self._preparations.Prewarm(request, timeout=ANSWER_S)
            except grpc.aio.AioRpcError as failure:
                log.warning("scheduler.not_prewarmed", code=failure.code().name, message=failure.details())
                await asyncio.sleep(PREWARM_AGAIN_S)
            else:
                return
