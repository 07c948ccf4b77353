"""Rollover, as far as the codestore has a part in it: routes with what was before, failures to load, what is set."""

import asyncio
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from stoker_protos.codestore.v1 import loads_pb2
from stoker_protos.v1 import functions_pb2, invocations_pb2
from stoker_service.errors import ErrorKind

from tests.codestore.world import ANN, CODE, OTHER_CODE, WITHIN_S, World, failure_of

BROKEN = invocations_pb2.FunctionError(
    kind=invocations_pb2.FUNCTION_ERROR_KIND_LOAD, type="SyntaxError", message="never closed\0"
)


async def deploy_two(world: World, **second: Any) -> None:
    """A function with two versions of different code, the second now `live`."""
    await world.deploy("hello")
    await world.upload(OTHER_CODE)
    await world.publish("hello", data=OTHER_CODE, **second)
    await world.point("hello", "live", (2, 100))


async def previous(world: World, qualifier: str = "live") -> list[Any]:
    return list((await world.resolve("ann", "hello", qualifier)).previous)


async def set_rollover(world: World, policy: Any = 0, max_staleness_s: int = 0) -> Any:
    function = functions_pb2.Function(name="functions/hello", rollover_policy=policy, max_staleness_s=max_staleness_s)
    mask = FieldMask(paths=["rollover_policy", "max_staleness_s"])
    request = functions_pb2.UpdateFunctionRequest(function=function, update_mask=mask)
    return (await world.functions.UpdateFunction(request, metadata=ANN, timeout=WITHIN_S)).function


def report(world: World, uid: str, *, is_broken: bool) -> Any:
    request = loads_pb2.ReportLoadRequest(
        version_uid=uid, error=BROKEN if is_broken else None, failures=int(is_broken), retry_ms=4000
    )
    return world.loads.ReportLoad(request, timeout=WITHIN_S)


async def test_a_route_tells_which_version_may_answer_meanwhile(world: World) -> None:
    await deploy_two(world)
    response = await world.resolve("ann", "hello", "live")
    [one] = response.previous
    assert (one.spec.number, one.instead_of) == (1, response.routes[0].spec.uid)
    assert 0 < one.remaining_ms <= 60_000
    assert (one.rule, one.is_needed) == (invocations_pb2.ROLLOVER_RULE_UNSPECIFIED, False)


async def test_a_number_stands_for_that_version_alone(world: World) -> None:
    await deploy_two(world)
    assert await previous(world, "2") == []


async def test_a_version_that_differs_in_what_callers_see_may_not(world: World) -> None:
    await deploy_two(world, memory_mib=256, environment={"A": "1"})
    [one] = await previous(world)
    assert one.rule == invocations_pb2.ROLLOVER_RULE_WAITED_AS_DIFFERENT
    assert list(one.differing_fields) == ["memory_mib", "environment"]


async def test_a_deleted_version_never_may(world: World) -> None:
    await deploy_two(world)
    watch = await world.watch()
    await world.delete_version("hello", 1)
    assert await previous(world) == []
    assert (await watch.read()).function == "hello"


async def test_a_version_that_another_alias_names_is_still_needed(world: World) -> None:
    await deploy_two(world)
    await world.point("hello", "stable", (1, 100))
    [one] = await previous(world)
    assert one.is_needed


async def test_the_policy_and_the_bound_are_those_of_the_function(world: World) -> None:
    await deploy_two(world)
    watch = await world.watch()
    function = await set_rollover(world, max_staleness_s=5)
    assert (function.rollover_policy, function.max_staleness_s) == (functions_pb2.ROLLOVER_POLICY_SERVE_PREVIOUS, 5)
    assert (await watch.read()).function == "hello"
    assert (await previous(world))[0].remaining_ms <= 5000
    await set_rollover(world, functions_pb2.ROLLOVER_POLICY_WAIT_FOR_NEW)
    assert (await previous(world))[0].rule == invocations_pb2.ROLLOVER_RULE_WAITED_BY_POLICY


async def test_a_new_function_serves_the_previous_version_for_a_minute(world: World) -> None:
    function = (await world.create("hello")).function
    assert (function.rollover_policy, function.max_staleness_s) == (functions_pb2.ROLLOVER_POLICY_SERVE_PREVIOUS, 60)


async def test_a_bound_beyond_a_day_is_refused(world: World) -> None:
    await world.create("hello")
    error = await failure_of(set_rollover(world, max_staleness_s=86_401))
    assert (error.kind, error.field) == (ErrorKind.INVALID_ARGUMENT, "function.max_staleness_s")


async def test_a_failure_to_load_is_seen_on_every_alias_of_the_version_until_it_loads(world: World) -> None:
    await deploy_two(world)
    await world.point("hello", "stable", (1, 100))
    uid = (await world.version("hello", 2)).version.uid
    await report(world, uid, is_broken=True)
    failure = (await world.alias("hello", "live")).alias.load_failure
    assert (failure.version, failure.error.type, failure.failures) == (2, "SyntaxError", 1)
    assert failure.retry_time.ToNanoseconds() - failure.time.ToNanoseconds() == 4 * 10**9
    assert not (await world.alias("hello", "stable")).alias.HasField("load_failure")
    await report(world, uid, is_broken=False)
    assert not (await world.alias("hello", "live")).alias.HasField("load_failure")


async def test_a_version_that_fails_to_load_answers_for_no_other(world: World) -> None:
    await deploy_two(world)
    await world.publish("hello", data=CODE)
    await world.point("hello", "live", (3, 100))
    assert [each.spec.number for each in await previous(world)] == [2, 1]
    await report(world, (await world.version("hello", 2)).version.uid, is_broken=True)
    assert [each.spec.number for each in await previous(world)] == [1]


async def test_what_is_told_at_once_or_of_a_deleted_version_is_no_error(world: World) -> None:
    await deploy_two(world)
    uid = (await world.version("hello", 1)).version.uid
    await asyncio.gather(*(report(world, uid, is_broken=True) for _ in range(5)))
    await world.delete_version("hello", 1)
    await report(world, uid, is_broken=True)
