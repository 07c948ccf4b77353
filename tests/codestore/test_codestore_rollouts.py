"""Rollouts: step by step, back by themselves, and safe whoever else looks after them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from stoker_codestore.alias_history import Share
from stoker_codestore.database import Database
from stoker_codestore.rollouts import Rollouts, version_before
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.watches import Watches
from stoker_protos.codestore.v1 import loads_pb2, outcomes_pb2
from stoker_protos.v1 import aliases_pb2, invocations_pb2, rollouts_pb2
from stoker_service.errors import ErrorKind
from stoker_service.sql import open_engine

from tests.codestore.world import ANN, BOB, WITHIN_S, Metadata, World, failure_of, running_world, settings_of

pytestmark = pytest.mark.thorough

HOUR_S = 3600
KEY = (*ANN, ("stoker-actor", "0123456789abcdef"))
RUNNING, PAUSED = rollouts_pb2.ROLLOUT_STATE_RUNNING, rollouts_pb2.ROLLOUT_STATE_PAUSED
DONE, ROLLED_BACK = rollouts_pb2.ROLLOUT_STATE_DONE, rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK
ABORTED = rollouts_pb2.ROLLOUT_STATE_ABORTED


def start(
    world: World,
    to_version: int = 2,
    *steps: int,
    alias: str = "live",
    every_s: int = HOUR_S,
    min_calls: int = 0,
    metadata: Metadata = KEY,
) -> Any:
    rollout = rollouts_pb2.Rollout(
        alias=alias,
        to_version=to_version,
        steps=steps or (10, 50, 100),
        every=Duration(seconds=every_s),
        min_calls=min_calls,
    )
    request = rollouts_pb2.StartRolloutRequest(parent="functions/hello", rollout=rollout)
    return world.rollouts.StartRollout(request, metadata=metadata, timeout=WITHIN_S)


async def started(world: World, *steps: int, **more: Any) -> str:
    """Makes a function whose version 1 is live, and begins a rollout to version 2."""
    await world.deploy(versions=2)
    await world.point("hello", "live", (1, 100))
    return (await start(world, 2, *steps, **more)).rollout.name


async def look(world: World, name: str) -> rollouts_pb2.Rollout:
    request = rollouts_pb2.GetRolloutRequest(name=name)
    return (await world.rollouts.GetRollout(request, metadata=ANN, timeout=WITHIN_S)).rollout


def pause(world: World, name: str) -> Any:
    return world.rollouts.PauseRollout(rollouts_pb2.PauseRolloutRequest(name=name), metadata=KEY, timeout=WITHIN_S)


def resume(world: World, name: str) -> Any:
    return world.rollouts.ResumeRollout(rollouts_pb2.ResumeRolloutRequest(name=name), metadata=KEY, timeout=WITHIN_S)


def abort(world: World, name: str, reason: str = "") -> Any:
    request = rollouts_pb2.AbortRolloutRequest(name=name, reason=reason)
    return world.rollouts.AbortRollout(request, metadata=KEY, timeout=WITHIN_S)


def roll_back(world: World, version: int = 0, alias: str = "live", reason: str = "") -> Any:
    request = rollouts_pb2.RollBackRequest(name=f"functions/hello/aliases/{alias}", version=version, reason=reason)
    return world.rollouts.RollBack(request, metadata=KEY, timeout=WITHIN_S)


async def listed(world: World, alias: str = "", size: int = 0, token: str = "") -> rollouts_pb2.ListRolloutsResponse:
    request = rollouts_pb2.ListRolloutsRequest(parent="functions/hello", alias=alias, page_size=size, page_token=token)
    return await world.rollouts.ListRollouts(request, metadata=ANN, timeout=WITHIN_S)


async def history(world: World) -> list[tuple[str, list[tuple[int, int]], str]]:
    """Who pointed `live` where, and why, the newest first."""
    request = aliases_pb2.ListAliasChangesRequest(parent="functions/hello/aliases/live")
    response: Any = await world.aliases.ListAliasChanges(request, metadata=ANN, timeout=WITHIN_S)
    return [
        (each.actor, [(route.version, route.weight) for route in each.routes_after], each.reason)
        for each in response.changes
    ]


async def counts(
    world: World, number: int, weight: int, calls: int, errors: int = 0, bucket: int = 20
) -> outcomes_pb2.OutcomeCounts:
    """What a frontend has counted of one version: those calls that do not fail take as long as a bucket says."""
    return outcomes_pb2.OutcomeCounts(
        tenant="ann",
        function="hello",
        alias="live",
        version_uid=(await world.version("hello", number)).version.uid,
        weight=weight,
        calls=calls,
        errors=errors,
        durations={bucket: calls - errors},
    )


async def report(world: World, *counted: outcomes_pb2.OutcomeCounts) -> None:
    await world.outcomes.ReportOutcomes(outcomes_pb2.ReportOutcomesRequest(counts=counted), timeout=WITHIN_S)


@asynccontextmanager
async def others(database_url: str, number: int, later_s: float) -> AsyncGenerator[Sequence[Rollouts]]:
    """Other codestores on the same database, which live somewhat later."""
    engine = open_engine(database_url)
    database = Database(engine)

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=later_s)

    try:
        yield [Rollouts(database, RouteChanges(database, Watches(), None), later) for _ in range(number)]
    finally:
        await engine.dispose()


async def test_a_rollout_begins_with_its_first_step_and_the_history_says_by_whom(world: World) -> None:
    name = await started(world)
    rollout = await look(world, name)
    assert (rollout.state, rollout.step, rollout.weight) == (RUNNING, 0, 10)
    assert (rollout.from_version, rollout.to_version, rollout.actor) == (1, 2, "0123456789abcdef")
    assert await world.resolved("ann", "hello", "live") == [(1, 90), (2, 10)]
    begun = "0123456789abcdef", [(1, 90), (2, 10)], "rollout to version 2 begun: 10 %"
    assert (await history(world))[0] == begun


async def test_it_goes_to_the_end_by_itself(world: World) -> None:
    await world.deploy(versions=2)
    await world.point("hello", "live", (1, 100))
    watch = await world.watch()
    name = (await start(world, 2, 50, 100, every_s=1)).rollout.name
    while (await look(world, name)).state == RUNNING:
        await watch.read()
    assert (await look(world, name)).state == DONE
    assert await world.resolved("ann", "hello", "live") == [(2, 100)]


async def test_a_first_step_of_100_is_done_at_once(world: World) -> None:
    name = await started(world, 100)
    assert (await look(world, name)).state == DONE
    assert await world.resolved("ann", "hello", "live") == [(2, 100)]


async def test_each_step_is_taken_once_however_many_codestores_look_after_it(world: World, database_url: str) -> None:
    name = await started(world)
    for hours, expected in ((1, [(1, 50), (2, 50)]), (2, [(2, 100)])):
        async with others(database_url, 4, hours * HOUR_S + 1) as codestores:
            await asyncio.gather(*(codestore.go_on() for codestore in codestores))
        assert await world.resolved("ann", "hello", "live") == expected
    assert (await look(world, name)).state == DONE
    moves = [reason for actor, _, reason in await history(world) if actor == "rollout"]
    assert moves == ["rollout to version 2: 100 %", "rollout to version 2: 50 %"]


async def test_a_codestore_that_is_started_again_goes_on_with_what_was_known(tmp_path: Path, database_url: str) -> None:
    settings = settings_of(tmp_path, database_url)
    async with running_world(settings) as before:
        name = await started(before, 50, 100, every_s=1)
        await report(before, await counts(before, 1, 50, 9, 1), await counts(before, 2, 50, 8))
    async with running_world(settings) as world, asyncio.timeout(WITHIN_S):
        while (rollout := await look(world, name)).state == RUNNING:
            assert (rollout.comparison.old.calls, rollout.comparison.new.calls) == (9, 8)
        assert rollout.state == DONE
        assert await world.resolved("ann", "hello", "live") == [(2, 100)]


async def test_a_version_that_fails_more_often_is_rolled_back_by_itself(world: World) -> None:
    name = await started(world)
    await report(world, await counts(world, 1, 90, 900, 9), await counts(world, 2, 10, 100, 60))
    rollout = await look(world, name)
    assert rollout.state == ROLLED_BACK
    assert rollout.reason == "it fails more often: 60 of 100 calls, the old version 9 of 900"
    assert rollout.HasField("end_time")
    assert await world.resolved("ann", "hello", "live") == [(1, 100)]
    assert (await history(world))[0] == ("rollout", [(1, 100)], f"rollout to version 2: rolled back: {rollout.reason}")


async def test_a_slower_version_is_rolled_back_by_itself(world: World) -> None:
    name = await started(world)
    for _ in range(6):
        await report(world, await counts(world, 1, 90, 90, bucket=20), await counts(world, 2, 10, 10, bucket=23))
    rollout = await look(world, name)
    assert rollout.state == ROLLED_BACK
    assert rollout.reason.startswith("it is slower")
    assert rollout.comparison.new.p50_ms / rollout.comparison.old.p50_ms == pytest.approx(2 ** (3 / 4))


async def test_a_version_that_does_as_well_is_not(world: World) -> None:
    name = await started(world)
    for _ in range(20):
        await report(world, await counts(world, 1, 90, 900, 9), await counts(world, 2, 10, 100, 1))
    rollout = await look(world, name)
    assert (rollout.state, rollout.comparison.errors_p, rollout.comparison.slow_p) == (RUNNING, 1.0, 1.0)
    assert (rollout.comparison.old.calls, rollout.comparison.new.errors) == (18_000, 20)


async def test_counts_of_several_frontends_add_up(world: World) -> None:
    name = await started(world)
    frontends = [report(world, await counts(world, 1, 90, 9, 1), await counts(world, 2, 10, 1)) for _ in range(8)]
    await asyncio.gather(*frontends)
    comparison = (await look(world, name)).comparison
    assert (comparison.old.calls, comparison.old.errors, comparison.new.calls) == (72, 8, 8)


async def test_calls_that_were_sent_by_other_weights_or_to_other_versions_do_not_count(world: World) -> None:
    name = await started(world)
    foreign = await counts(world, 2, 10, 100, 100)
    foreign.tenant = "bob"
    unknown = await counts(world, 2, 10, 100, 100)
    unknown.version_uid = "another"
    await report(world, await counts(world, 2, 50, 100, 100), foreign, unknown, await counts(world, 1, 90, 500))
    comparison = (await look(world, name)).comparison
    assert (comparison.old.calls, comparison.new.calls) == (500, 0)


async def test_a_version_whose_code_cannot_be_loaded_is_rolled_back(world: World, database_url: str) -> None:
    name = await started(world)
    uid = (await world.version("hello", 2)).version.uid
    error = invocations_pb2.FunctionError(
        kind=invocations_pb2.FUNCTION_ERROR_KIND_LOAD, type="ImportError", message="no module named app"
    )
    for failures in (1, 2):
        request = loads_pb2.ReportLoadRequest(version_uid=uid, error=error, failures=failures)
        await world.loads.ReportLoad(request, timeout=WITHIN_S)
    async with others(database_url, 1, 0) as [codestore]:
        await codestore.go_on()
    rollout = await look(world, name)
    assert rollout.state == ROLLED_BACK
    assert rollout.reason == "its code cannot be loaded: ImportError: no module named app"


async def test_too_few_calls_hold_a_step_for_longer(world: World, database_url: str) -> None:
    name = await started(world, min_calls=50)
    async with others(database_url, 1, HOUR_S + 1) as [codestore]:
        await codestore.go_on()
        assert (await look(world, name)).step == 0
        await report(world, await counts(world, 1, 90, 450), await counts(world, 2, 10, 50))
        await codestore.go_on()
        assert (await look(world, name)).step == 1


async def test_a_paused_rollout_stays_where_it_is_but_is_still_judged(world: World, database_url: str) -> None:
    name = await started(world)
    rollout = (await pause(world, name)).rollout
    assert (rollout.state, rollout.reason) == (PAUSED, "paused by 0123456789abcdef")
    assert (await pause(world, name)).rollout.state == PAUSED
    async with others(database_url, 1, 5 * HOUR_S) as [codestore]:
        await codestore.go_on()
    assert await world.resolved("ann", "hello", "live") == [(1, 90), (2, 10)]
    rollout = (await resume(world, name)).rollout
    assert (rollout.state, rollout.reason) == (RUNNING, "")
    await pause(world, name)
    await report(world, await counts(world, 1, 90, 900, 9), await counts(world, 2, 10, 100, 60))
    assert (await look(world, name)).state == ROLLED_BACK


async def test_an_aborted_rollout_gives_everything_back_to_the_old_version(world: World) -> None:
    name = await started(world)
    rollout = (await abort(world, name, "the wrong one")).rollout
    assert (rollout.state, rollout.weight, rollout.reason) == (ABORTED, 0, "the wrong one")
    assert await world.resolved("ann", "hello", "live") == [(1, 100)]
    assert (await history(world))[0][2] == "rollout to version 2: the wrong one"
    for call in (pause(world, name), resume(world, name), abort(world, name)):
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.FAILED_PRECONDITION, "ROLLOUT_ENDED")
    assert (await start(world)).rollout.state == RUNNING


async def test_nothing_else_moves_its_alias_meanwhile(world: World) -> None:
    await started(world)
    calls = (world.point("hello", "live", (2, 100)), world.delete_alias("hello", "live"), start(world))
    for call in calls:
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.FAILED_PRECONDITION, "ROLLOUT_UNDER_WAY")
        assert "AbortRollout or RollBack" in error.message
    for number in (1, 2):
        assert (await failure_of(world.delete_version("hello", number))).reason == "VERSION_IN_USE"
    await world.point("hello", "other", (1, 100))
    assert await world.resolved("ann", "hello", "live") == [(1, 90), (2, 10)]


async def test_it_ends_with_its_function(world: World, database_url: str) -> None:
    name = await started(world)
    async with others(database_url, 1, HOUR_S + 1) as [codestore]:
        await world.delete("hello")
        await codestore.go_on()
    await world.deploy(versions=2)
    assert (await failure_of(pause(world, name))).reason == "ROLLOUT_NOT_FOUND"


async def test_what_cannot_be_rolled_out_is_refused(world: World) -> None:
    await world.deploy(versions=3)
    await world.point("hello", "split", (1, 50), (2, 50))
    await world.point("hello", "live", (1, 100))
    refusals = [
        (start(world, 1), "INVALID_FIELD", "rollout.to_version"),
        (start(world, 9), "VERSION_NOT_FOUND", "rollout.to_version"),
        (start(world, 2, alias="none"), "ALIAS_NOT_FOUND", ""),
        (start(world, 3, alias="split"), "ALIAS_SPLIT", "rollout.alias"),
        (start(world, 2, 50, 10, 100), "INVALID_FIELD", "rollout.steps"),
        (start(world, 2, 10, 50), "INVALID_FIELD", "rollout.steps"),
        (start(world, 2, 10, 10, 100), "INVALID_FIELD", "rollout.steps"),
        (start(world, 2, every_s=0), "INVALID_FIELD", "rollout.every"),
        (start(world, 2, metadata=BOB), "FUNCTION_NOT_FOUND", ""),
    ]
    for call, reason, field in refusals:
        error = await failure_of(call)
        assert (error.reason, error.field) == (reason, field)
    assert await world.resolved("ann", "hello", "live") == [(1, 100)]


async def test_rollouts_are_listed_newest_first_and_in_pages(world: World) -> None:
    names = [await started(world)]
    for _ in range(2):
        await abort(world, names[0])
        names.insert(0, (await start(world)).rollout.name)
    await world.point("hello", "other", (1, 100))
    await start(world, alias="other")
    first = await listed(world, "live", 2)
    rest = await listed(world, "live", 2, first.next_page_token)
    assert [each.name for each in (*first.rollouts, *rest.rollouts)] == names
    assert rest.next_page_token == ""
    assert len((await listed(world)).rollouts) == 4
    assert (await failure_of(listed(world, token="bm9uZQ"))).reason == "INVALID_PAGE_TOKEN"


async def test_rolling_back_ends_the_rollout_that_is_under_way(world: World) -> None:
    name = await started(world)
    alias = (await roll_back(world, reason="customers complain")).alias
    assert [(route.version, route.weight) for route in alias.routes] == [(1, 100)]
    rollout = await look(world, name)
    assert (rollout.state, rollout.reason) == (ABORTED, "customers complain")
    assert (await history(world))[0] == ("0123456789abcdef", [(1, 100)], "customers complain")


async def test_rolling_back_leads_to_the_version_before_and_then_to_that_before_it(world: World) -> None:
    await world.deploy(versions=3)
    for number in (1, 2, 3):
        await world.point("hello", "live", (number, 100))
    for expected in (2, 1):
        assert (await roll_back(world)).alias.routes[0].version == expected
    error = await failure_of(roll_back(world))
    assert (error.reason, error.field) == ("NO_EARLIER_VERSION", "version")


async def test_rolling_back_leads_to_any_version_that_there_is(world: World) -> None:
    await world.deploy(versions=3)
    assert (await roll_back(world, 2)).alias.routes[0].version == 2
    error = await failure_of(roll_back(world, 7))
    assert (error.reason, error.field) == ("VERSION_NOT_FOUND", "version")


def test_the_version_before_is_one_that_the_alias_named_alone_and_that_there_is() -> None:
    one, two, three = (Share(number, 100) for number in (1, 2, 3))
    split = Share(1, 40), Share(3, 60)
    assert version_before([three], [[two], [one]], [1, 2, 3]) == 2
    assert version_before([three], [[two], [one]], [1, 3]) == 1
    assert version_before([two], [[three], [one]], [1, 2, 3]) == 1
    assert version_before(split, [[two], [one]], [1, 2, 3]) == 2
    assert version_before([three], [split, [one]], [1, 2, 3]) == 1
    assert version_before([one], [[two]], [1, 2]) is None
