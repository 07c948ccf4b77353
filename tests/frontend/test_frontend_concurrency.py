"""What is set for functions with how things stand, and what callers over a limit are told."""

from typing import Any

import pytest
from google.rpc.error_details_pb2 import QuotaFailure
from google.rpc.status_pb2 import Status
from stoker_frontend.concurrency import Usage, usage_of
from stoker_protos.scheduler.v1 import capacity_pb2
from stoker_protos.v1 import concurrency_pb2
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.status import STATUS_DETAILS_KEY

from tests.frontend.codestore_peer import spec_of
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import World, failure_of, running_world

USAGE = [
    capacity_pb2.GetUsageResponse.VersionUsage(version=1, loaded=3, leased=2),
    capacity_pb2.GetUsageResponse.VersionUsage(version=2, loaded=5, leased=1, creating=7),
]


def standing(setting: concurrency_pb2.Concurrency) -> tuple[str, int | None, int | None]:
    """Whose setting it is, and how many containers are loaded and leased."""
    loaded = setting.loaded if setting.HasField("loaded") else None
    return setting.name.removesuffix("/concurrency"), loaded, setting.leased if setting.HasField("leased") else None


async def listed(world: World) -> list[tuple[str, int | None, int | None]]:
    request = concurrency_pb2.ListConcurrencyRequest(parent="functions/hello")
    response: Any = await world.concurrency.ListConcurrency(request, timeout=WITHIN_S, metadata=world.keys["ann"])
    return [standing(setting) for setting in response.settings]


async def test_an_aliass_containers_are_those_of_its_versions() -> None:
    async with running_world() as world:
        world.scheduler.usage = USAGE
        world.codestore.put(spec_of("ann", "hello", 2))
        assert await listed(world) == [
            ("functions/hello", 8, 3),
            ("functions/hello/aliases/live", 5, 1),
            # It was deleted since its setting was read.
            ("functions/hello/aliases/gone", 0, 0),
        ]


async def test_a_setting_is_shown_as_it_is_after_a_change() -> None:
    async with running_world() as world:
        world.scheduler.usage = USAGE
        wanted = concurrency_pb2.Concurrency(name="functions/hello/concurrency", maximum=9, loaded=100)
        request = concurrency_pb2.UpdateConcurrencyRequest(concurrency=wanted)
        call = world.concurrency.UpdateConcurrency(request, timeout=WITHIN_S, metadata=world.keys["ann"])
        changed = (await call).concurrency
        assert (changed.maximum, *standing(changed)) == (9, "functions/hello", 8, 3)


async def test_settings_are_shown_while_the_scheduler_is_away() -> None:
    async with running_world() as world:
        await world.scheduler_server.end()
        request = concurrency_pb2.GetConcurrencyRequest(name="functions/hello/concurrency")
        call = world.concurrency.GetConcurrency(request, timeout=WITHIN_S, metadata=world.keys["ann"])
        setting = (await call).concurrency
        assert (setting.provisioned, *standing(setting)) == (2, "functions/hello", None, None)


async def test_settings_are_not_shown_while_the_codestore_is_away() -> None:
    async with running_world() as world:
        await world.codestore_server.end()
        error = await failure_of(listed(world))
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "CODESTORE_UNAVAILABLE")


async def test_a_caller_over_a_maximum_is_told_at_once_with_the_quota_and_when_to_try_again() -> None:
    async def refuse(_request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
        raise StokerError(
            ErrorKind.RESOURCE_EXHAUSTED,
            "FUNCTION_CONCURRENCY",
            "functions/hello runs 5 invocations, its maximum",
            retry_after_s=0.5,
            quota="functions/hello",
        )

    async with running_world() as world:
        world.scheduler.grant = refuse
        call = world.invoke()
        error = await failure_of(call)
        assert (error.kind, error.reason, error.retry_after_s) == (
            ErrorKind.RESOURCE_EXHAUSTED,
            "FUNCTION_CONCURRENCY",
            0.5,
        )
        details = dict(await call.trailing_metadata())[STATUS_DETAILS_KEY]
        [quota] = [each for each in Status.FromString(details).details if each.Is(QuotaFailure.DESCRIPTOR)]
        assert QuotaFailure.FromString(quota.value).violations[0].subject == "functions/hello"
        assert len(world.scheduler.acquired) == 1, "it is final: nobody asks again"


@pytest.mark.parametrize(
    ("versions", "usage"), [(None, Usage(8, 3)), ((2,), Usage(5, 1)), ((), Usage(0, 0)), ((1, 9), Usage(3, 2))]
)
def test_usage_is_summed_over_the_versions_that_count(versions: Any, usage: Usage) -> None:
    assert usage_of({1: Usage(3, 2), 2: Usage(5, 1)}, versions) == usage
