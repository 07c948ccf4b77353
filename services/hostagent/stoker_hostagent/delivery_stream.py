"""The stream of the codestore, by which this host learns what to fetch before it is needed; and what it tells back.

It is opened again for ever when it breaks. Each time the codestore is told what is here, so nothing that was not
reported meanwhile is lost.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc.aio
import structlog
from stoker_protos.codestore.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent.artifact import Artifact
from stoker_hostagent.code_cache import CodeCache
from stoker_hostagent.code_source import Way
from stoker_hostagent.fleet_stream import LONGEST_WAIT_S, wait_before

log = structlog.get_logger()

PROGRESS_EVERY_S = 0.5
"""How often progress is reported, in seconds; of what comes in between only the last is told."""
ALL_EVERY_S = 5.0
"""How often the codestore hears of deliveries that have not come further, such as those that wait, in seconds."""
REPORT_S = 5.0
"""How long a report may take, in seconds."""
MAX_MESSAGE = 4096


class DeliveryStream:
    """This host's watch for deliveries. It listens to the code cache."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        host: str,
        address: Callable[[], str],
        tenants: Callable[[], set[str]],
        code: CodeCache,
        tasks: Background,
    ) -> None:
        """Begins unconnected; `run` connects.

        Args:
            channel: The channel to the codestore.
            host: This host's id.
            address: Tells where other hosts reach this one.
            tenants: Tells those that have VMs here.
            code: Where deliveries go.
            tasks: What owns the fetching.
        """
        self._channel = channel
        self._codestore = deliveries_pb2_grpc.DeliveryServiceStub(channel)
        self._host = host
        self._address = address
        self._tenants = tenants
        self._code = code
        self._tasks = tasks
        self._reports: dict[Artifact, deliveries_pb2.ReportDeliveryRequest] = {}
        """Not sent yet, the latest of each artifact."""
        self._running: dict[str, tuple[Artifact, tuple[int, int]]] = {}
        """Deliveries, each with how much was lacking and how much of that has come."""
        self._has_reports = asyncio.Event()
        self._is_urgent = asyncio.Event()
        """Whether somebody may wait for what is reported."""

    async def run(self) -> None:
        """Keeps the stream open until it is cancelled."""
        attempt = 0
        while True:
            await self._channel.channel_ready()
            begun_s = asyncio.get_running_loop().time()
            why = await self._watch()
            lasted_s = asyncio.get_running_loop().time() - begun_s
            attempt = 0 if lasted_s > LONGEST_WAIT_S else attempt + 1
            log.warning("deliveries.lost", message=why, after_s=round(lasted_s, 1))
            await asyncio.sleep(wait_before(attempt))

    async def report(self) -> None:
        """Sends what is to be reported until it is cancelled. What cannot be sent is told with the next watch."""
        told_all_s = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ALL_EVERY_S):
                    await self._has_reports.wait()
            now_s = asyncio.get_running_loop().time()
            if now_s - told_all_s >= ALL_EVERY_S:
                told_all_s = now_s
                self._tell_all()
            self._has_reports.clear()
            while self._reports:
                request = self._reports.pop(next(iter(self._reports)))
                try:
                    await self._codestore.ReportDelivery(request, timeout=REPORT_S)
                except grpc.aio.AioRpcError as failure:
                    log.info("deliveries.not_told", code=failure.code().name, message=failure.details())
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_EVERY_S):
                    await self._is_urgent.wait()
            self._is_urgent.clear()

    def code_added(self, artifact: Artifact) -> None:
        """Reports code that is here now, however it came."""
        self._tell(artifact, deliveries_pb2.DELIVERY_STATE_DELIVERED)

    def code_removed(self, artifact: Artifact) -> None:
        """Reports code that is here no more."""
        self._tell(artifact, deliveries_pb2.DELIVERY_STATE_GONE)

    async def _watch(self) -> str:
        """Has delivered what it is told, until the stream breaks; returns why it did."""
        # What has not been reported by now is told with the watch, or was about another one's deliveries.
        self._reports.clear()
        request = deliveries_pb2.WatchDeliveriesRequest(
            host=self._host,
            address=self._address(),
            tenants=sorted(self._tenants()),
            artifacts=[_message(artifact) for artifact in self._code.all()],
        )
        try:
            async for told in self._codestore.WatchDeliveries(request):
                if told.HasField("delivery"):
                    self._tasks.start(self._deliver(told.delivery), f"deliver {told.delivery.artifact.sha256}")
                else:
                    log.info("deliveries.watched", artifacts=len(request.artifacts))
        except grpc.aio.AioRpcError as failure:
            return failure.details() or failure.code().name
        return "the codestore ended it"

    async def _deliver(self, delivery: deliveries_pb2.Delivery) -> None:
        artifact = Artifact(delivery.artifact.tenant, delivery.artifact.sha256)

        def told(lacking_bytes: int, fetched_bytes: int) -> None:
            self._running[delivery.id] = (artifact, (lacking_bytes, fetched_bytes))
            self._tell(artifact, deliveries_pb2.DELIVERY_STATE_FETCHING, delivery.id, (lacking_bytes, fetched_bytes))

        self._running[delivery.id] = (artifact, (0, 0))
        try:
            await self._code.bring(artifact, Way(delivery.peer, told))
        except (StokerError, OSError) as error:
            log.warning("delivery.failed", sha256=artifact.sha256, peer=delivery.peer, message=str(error))
            state, message = deliveries_pb2.DELIVERY_STATE_FAILED, str(error)[:MAX_MESSAGE]
        else:
            state, message = deliveries_pb2.DELIVERY_STATE_DELIVERED, ""
        finally:
            _, progress = self._running.pop(delivery.id)
        self._tell(artifact, state, delivery.id, progress, message)

    def _tell_all(self) -> None:
        for delivery_id, (artifact, progress) in self._running.items():
            if artifact not in self._reports:
                self._tell(artifact, deliveries_pb2.DELIVERY_STATE_FETCHING, delivery_id, progress)

    def _tell(
        self,
        artifact: Artifact,
        state: deliveries_pb2.DeliveryState.ValueType,
        delivery_id: str = "",
        progress: tuple[int, int] = (0, 0),
        message: str = "",
    ) -> None:
        self._reports.pop(artifact, None)
        self._reports[artifact] = deliveries_pb2.ReportDeliveryRequest(
            host=self._host,
            delivery_id=delivery_id,
            artifact=_message(artifact),
            state=state,
            lacking_bytes=progress[0],
            fetched_bytes=progress[1],
            message=message,
        )
        self._has_reports.set()
        if state != deliveries_pb2.DELIVERY_STATE_FETCHING:
            self._is_urgent.set()


def _message(artifact: Artifact) -> deliveries_pb2.ArtifactId:
    return deliveries_pb2.ArtifactId(tenant=artifact.tenant, sha256=artifact.sha256)
