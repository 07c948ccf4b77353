"""Rollouts through the real frontend and the real codestore: what callers see, and what is made of how they fared."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from stoker_codestore import rollout_controller
from stoker_codestore.codestore import running_codestore
from stoker_codestore.config import CodestoreSettings
from stoker_frontend import outcome_reports
from stoker_frontend.routes import RouteKey
from stoker_frontend.stickiness import point_of
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.scheduler.v1 import capacity_pb2
from stoker_protos.v1 import (
    aliases_pb2,
    artifacts_pb2_grpc,
    functions_pb2,
    invocations_pb2,
    rollouts_pb2,
    rollouts_pb2_grpc,
    versions_pb2_grpc,
)

from tests.frontend.archives import GOOD_ZIP
from tests.frontend.bad_requests import alias, upload_of, version
from tests.frontend.host_peer import Outcome, echo, for_ever
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import World, running_world

pytestmark = pytest.mark.thorough

KEY = RouteKey("ann", "hello", "live")
Run = Callable[[hostagent_pb2.Start], Awaitable[Outcome]]


async def boom(_start: hostagent_pb2.Start) -> Outcome:
    error = invocations_pb2.FunctionError(kind=invocations_pb2.FUNCTION_ERROR_KIND_EXCEPTION, type="ValueError")
    return hostagent_pb2.Finished(function_error=error, run_ms=1)


async def slow(start: hostagent_pb2.Start) -> Outcome:
    return hostagent_pb2.Finished(payload=start.payload, run_ms=400)


class Platform:
    """A function `hello` whose version 1 is live, and whose version 2 behaves as a test says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rollouts = rollouts_pb2_grpc.RolloutServiceStub(world.channel)
        self.second: Run = echo
        self.may_load = asyncio.Event()
        self.may_load.set()
        self._versions: dict[str, int] = {}
        self._grant_new = world.scheduler.grant_new
        world.scheduler.grant = self._grant
        world.host.run = self._run
        self.ann: dict[str, Any] = {"timeout": WITHIN_S, "metadata": world.keys["ann"]}

    async def deploy(self) -> None:
        world, ann = self.world, self.ann
        function = functions_pb2.Function(name="functions/hello")
        await world.functions.CreateFunction(functions_pb2.CreateFunctionRequest(function=function), **ann)
        await artifacts_pb2_grpc.ArtifactServiceStub(world.channel).UploadArtifact(iter(upload_of(GOOD_ZIP)), **ann)
        versions = versions_pb2_grpc.VersionServiceStub(world.channel)
        for description in ("one", "two"):
            await versions.PublishVersion(version(description=description), **ann)
        await world.aliases.CreateAlias(aliases_pb2.CreateAliasRequest(alias=alias("live", (1, 100))), **ann)

    async def start(self, *steps: int, every_s: int = 3600, loaded: str = "12") -> str:
        """Begins a rollout to version 2, and has a container of each version loaded that is said to be."""
        for number in loaded:
            await self.world.invoke(qualifier=number)
        rollout = rollouts_pb2.Rollout(alias="live", to_version=2, steps=steps, every=Duration(seconds=every_s))
        request = rollouts_pb2.StartRolloutRequest(parent="functions/hello", rollout=rollout)
        return (await self.rollouts.StartRollout(request, **self.ann)).rollout.name

    async def look(self, name: str) -> rollouts_pb2.Rollout:
        return (await self.rollouts.GetRollout(rollouts_pb2.GetRolloutRequest(name=name), **self.ann)).rollout

    async def call(self, calls: int, session_key: str = "") -> Counter[int]:
        """How often each version answered."""
        answers = [await self.world.invoke(session_key=session_key) for _ in range(calls)]
        return Counter(answer.executed_version for answer in answers)

    async def call_until(self, name: str, is_so: Callable[[rollouts_pb2.Rollout], bool]) -> rollouts_pb2.Rollout:
        """Calls on and on until a rollout is as it should be."""
        async with asyncio.timeout(2 * WITHIN_S):
            while not is_so(rollout := await self.look(name)):
                await self.call(10)
        return rollout

    async def comparison(self, name: str, calls: int) -> rollouts_pb2.RolloutComparison:
        """What is known when so many calls have been counted."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                compared = (await self.look(name)).comparison
                if compared.old.calls + compared.new.calls >= calls:
                    return compared

    async def _grant(self, request: capacity_pb2.AcquireContainerRequest) -> capacity_pb2.AcquireContainerResponse:
        if request.spec.number == 2:
            await self.may_load.wait()
        granted = await self._grant_new(request)
        self._versions[granted.lease.id] = request.spec.number
        return granted

    async def _run(self, start: hostagent_pb2.Start) -> Outcome:
        return await (self.second if self._versions[start.lease_id] == 2 else echo)(start)


@pytest.fixture
async def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Platform]:
    monkeypatch.setattr(outcome_reports, "EVERY_S", 0.05)
    monkeypatch.setattr(rollout_controller, "LOOK_S", 0.05)
    settings = CodestoreSettings(
        listen_address="127.0.0.1:0",
        drain_s=0,
        database_url=f"sqlite+aiosqlite:///{tmp_path}/codestore.db",
        artifacts_url=f"file://{tmp_path}/artifacts",
        uploads_dir=tmp_path / "uploads",
    )
    async with running_codestore(settings) as codestore, running_world(codestore_address=codestore.address) as world:
        platform = Platform(world)
        await platform.deploy()
        yield platform


async def test_a_version_that_fails_is_rolled_back_while_callers_call(platform: Platform) -> None:
    platform.second = boom
    name = await platform.start(50, 100)
    rollout = await platform.call_until(name, lambda rollout: rollout.HasField("end_time"))
    assert rollout.state == rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK
    assert "fails more often" in rollout.reason
    # The first call may still be on the way of before.
    await platform.call(1)
    assert await platform.call(10) == {1: 10}


async def test_a_version_that_is_slow_is_rolled_back(platform: Platform) -> None:
    platform.second = slow
    name = await platform.start(50, 100)
    rollout = await platform.call_until(name, lambda rollout: rollout.HasField("end_time"))
    assert rollout.state == rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK
    assert "slower" in rollout.reason


async def test_a_version_that_does_well_gets_everything(platform: Platform) -> None:
    name = await platform.start(50, 100, every_s=1)
    rollout = await platform.call_until(name, lambda rollout: rollout.HasField("end_time"))
    assert rollout.state == rollouts_pb2.ROLLOUT_STATE_DONE
    assert rollout.comparison.old.calls > 0
    assert rollout.comparison.new.calls > 0
    await platform.call(1)
    assert await platform.call(10) == {2: 10}


async def test_every_call_that_may_have_run_is_counted_for_the_version_that_ran_it(platform: Platform) -> None:
    name = await platform.start(50, 100)
    answered = await platform.call(20)
    platform.second = for_ever
    while (late := len(platform.world.host.stopped)) < 2:
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await platform.world.invoke(timeout_s=0.2)
            # The container of a call that was stopped is gone, so that version 1 answers for a moment.
            answered[answer.executed_version] += not answer.HasField("rollover")
    compared = await platform.comparison(name, answered.total() + late)
    assert (compared.old.calls, compared.old.errors) == (answered[1], 0)
    assert (compared.new.calls, compared.new.errors) == (answered[2] + late, late)


async def test_a_call_that_another_version_answers_counts_for_neither(platform: Platform) -> None:
    name = await platform.start(50, 100, loaded="1")
    platform.may_load.clear()
    answers = [await platform.world.invoke() for _ in range(20)]
    assert {answer.executed_version for answer in answers} == {1}
    instead = sum(answer.HasField("rollover") for answer in answers)
    assert 0 < instead < 20
    compared = await platform.comparison(name, 20 - instead)
    assert (compared.old.calls, compared.new.calls) == (20 - instead, 0)


async def test_a_session_waits_for_its_version_where_others_are_answered_by_the_one_before(platform: Platform) -> None:
    await platform.start(50, 100, loaded="1")
    platform.may_load.clear()
    session = next(f"{number}" for number in range(100) if point_of(KEY, f"{number}") >= 0.5)
    waiting = asyncio.ensure_future(platform.call(1, session))
    assert await platform.call(20) == {1: 20}
    assert not waiting.done()
    platform.may_load.set()
    assert await waiting == {2: 1}


async def test_a_session_stays_with_its_version(platform: Platform) -> None:
    await platform.start(50, 100, every_s=3600)
    sessions = [f"session-{number}" for number in range(20)]
    before = {session: await platform.call(3, session) for session in sessions}
    assert all(len(answers) == 1 for answers in before.values())
    assert {next(iter(answers)) for answers in before.values()} == {1, 2}
