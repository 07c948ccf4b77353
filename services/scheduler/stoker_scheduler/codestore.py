"""The codestore, as the scheduler watches it."""

import asyncio
import random

import grpc.aio
import structlog
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc
from stoker_service.status import error_from_rpc

from stoker_scheduler.machines import FunctionKey
from stoker_scheduler.targets import Provisioned, Target, Targets
from stoker_scheduler.wire import version_from_proto

log = structlog.get_logger()

WATCH_AGAIN_S = 0.2
"""How long after the watch has broken it is begun again, in seconds, at the least; half as much more by chance."""


async def keep_targets(channel: grpc.aio.Channel, targets: Targets) -> None:
    """Keeps targets as the codestore tells them, until it is cancelled. While it is away they stay as they are."""
    while True:
        try:
            await _watch(channel, targets)
        except grpc.aio.AioRpcError as failure:
            error = error_from_rpc(failure)
            log.warning("targets.unwatched", reason=error.reason, message=error.message)
        await asyncio.sleep(WATCH_AGAIN_S * random.uniform(1, 1.5))  # noqa: S311 - spreads schedulers in time


async def _watch(channel: grpc.aio.Channel, targets: Targets) -> None:
    stub = codestore_pb2_grpc.ConcurrencyTargetServiceStub(channel)
    # What there was when the watch began counts as a whole, so that what was set back meanwhile is forgotten.
    first: dict[FunctionKey, Target] | None = {}
    async for event in stub.WatchConcurrency(codestore_pb2.WatchConcurrencyRequest(), wait_for_ready=True):
        match event.WhichOneof("event"):
            case "function":
                key, target = _target(event.function)
                if first is None:
                    targets.put(key, target)
                else:
                    first[key] = target
            case "is_complete" if first is not None:
                targets.replace(first)
                log.info("targets.watched", functions=len(first))
                first = None
            case _:
                # A codestore of a later version tells what this scheduler does not know.
                pass


def _target(function: codestore_pb2.FunctionConcurrency) -> tuple[FunctionKey, Target]:
    provisioned = tuple(
        Provisioned(version_from_proto(kept.spec), kept.containers)
        for kept in function.provisioned
        if kept.containers > 0
    )
    return (function.tenant, function.function), Target(function.maximum, provisioned)
