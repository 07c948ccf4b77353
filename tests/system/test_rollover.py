"""A new version takes over while callers call: nobody waits, nobody gets an error, and the old one ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import stoker
import stoker.aio
from stoker.models import InvokeResult, Start
from stoker.rollovers import RolloverRule

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

TAKEN_OVER_S = 120
"""How long a version may take to answer all, or a container to end, in seconds, on a machine that emulates."""
CALLERS = 2
PAUSE_S = 0.1
"""How long each caller pauses, so that there is a processor for the new version too."""


def code_of(number: int) -> str:
    """A function that says which version of its code it is."""
    return f"def handler(event, context):\n    return {number}\n"


@pytest.fixture
async def aio_client(system: RunningStoker) -> AsyncIterator[stoker.aio.Client]:
    """A client of the tenant `dev` for several calls at once."""
    async with stoker.aio.Client(system.endpoint, api_key=system.configuration()["api_key"]) as client:
        yield client


@pytest.fixture
async def lone_client(system: RunningStoker) -> AsyncIterator[stoker.aio.Client]:
    """One of a tenant whose VM has room, because nothing else runs there."""
    with system.client() as dev:
        key = dev.create_tenant("roller").api_key
    async with stoker.aio.Client(system.endpoint, api_key=key) as client:
        yield client


class Callers:
    """Calls a function again and again, and keeps what is answered."""

    def __init__(self, client: stoker.aio.Client, function: str) -> None:
        self._client = client
        self._function = function
        self._answered = asyncio.Condition()
        self.results: list[InvokeResult] = []

    async def __aenter__(self) -> "Callers":
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(self._call()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(None, None, None)

    async def until(self, is_so: Callable[[InvokeResult], bool]) -> None:
        """Waits until as many answers in a row as there are callers are such."""
        begun = len(self.results)
        async with asyncio.timeout(TAKEN_OVER_S), self._answered:
            await self._answered.wait_for(
                lambda: len(self.results) >= begun + CALLERS and all(map(is_so, self.results[-CALLERS:]))
            )

    async def _call(self) -> None:
        while True:
            result = await self._client.invoke(self._function, timeout_s=60)
            async with self._answered:
                self.results.append(result)
                self._answered.notify_all()
            await asyncio.sleep(PAUSE_S)


async def deploy(client: stoker.aio.Client, directory: Path, function: str, source: str, memory_mib: int = 64) -> int:
    """Deploys a version; returns its number."""
    code = write_function(directory, source)
    done = await client.deploy(
        function, code, runtime="python3", handler="main.handler", tmp_mib=1, memory_mib=memory_mib
    )
    return done.version.number


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + TAKEN_OVER_S
    while not is_so():
        assert time.monotonic() < give_up_s, "it did not come to be"
        time.sleep(0.2)


async def test_the_old_version_answers_until_the_new_one_does_on_the_same_vm_and_ends_then(
    system: RunningStoker, lone_client: stoker.aio.Client, tmp_path: Path
) -> None:
    await deploy(lone_client, tmp_path, "roller", code_of(1))
    await lone_client.invoke("roller", timeout_s=120)
    async with Callers(lone_client, "roller") as callers:
        await callers.until(lambda result: result.start is Start.WARM)
        before = len(callers.results)
        await deploy(lone_client, tmp_path, "roller", code_of(2))
        await callers.until(lambda result: result.executed_version == 2)
    seen = callers.results[before:]
    assert all(result.raise_for_error().json() == result.executed_version for result in seen)
    assert {result.executed_version for result in seen} <= {1, 2}
    assert {result.start for result in seen} == {Start.WARM}, "nobody waited for a container"
    meanwhile = [result.rollover for result in seen if result.rollover]
    assert {effect.rule for effect in meanwhile} <= {RolloverRule.SERVED_WHILE_LOADING}
    assert {result.vm for result in seen if result.executed_version == 2} & {
        result.vm for result in callers.results[:before]
    }
    old = {result.container for result in callers.results if result.executed_version == 1}
    await asyncio.to_thread(wait_until, lambda: old.isdisjoint(each.id for each in system.fleet().containers))


async def test_a_version_that_does_not_load_leaves_the_old_one_answering_and_status_shows_it(
    system: RunningStoker, aio_client: stoker.aio.Client, tmp_path: Path
) -> None:
    await deploy(aio_client, tmp_path, "stumbler", code_of(1))
    await aio_client.invoke("stumbler", timeout_s=120)
    await deploy(aio_client, tmp_path, "stumbler", "def handler(:\n")

    def is_shown() -> bool:
        return "version 2 failed to load once: SyntaxError" in system.run("status", "stumbler").stdout

    async with asyncio.timeout(TAKEN_OVER_S):
        while True:
            result = await aio_client.invoke("stumbler")
            assert result.raise_for_error().json() == 1
            if result.rollover and result.rollover.rule is RolloverRule.SERVED_WHILE_FAILING:
                break
    await asyncio.to_thread(wait_until, is_shown)
    shown = system.run("status", "stumbler").stdout
    assert "version 1, until 2 is loaded" in shown
    assert "it is tried again with the first request after" in shown

    assert await deploy(aio_client, tmp_path, "stumbler", code_of(3)) == 3
    async with asyncio.timeout(TAKEN_OVER_S):
        while (await aio_client.invoke("stumbler")).raise_for_error().json() != 3:
            pass
    assert "failed" not in system.run("status", "stumbler").stdout


async def test_who_names_a_number_gets_that_version_and_what_callers_can_see_is_waited_for(
    aio_client: stoker.aio.Client, tmp_path: Path
) -> None:
    await deploy(aio_client, tmp_path, "chooser", code_of(1))
    await aio_client.invoke("chooser", timeout_s=120)
    await deploy(aio_client, tmp_path, "chooser", code_of(2), memory_mib=96)
    by_number = await aio_client.invoke("chooser", qualifier="1")
    assert (by_number.executed_version, by_number.rollover) == (1, None)
    result = await aio_client.invoke("chooser", timeout_s=120)
    assert result.executed_version == 2
    assert result.rollover is not None
    assert result.rollover.rule is RolloverRule.WAITED_AS_DIFFERENT
    assert result.rollover.differing_fields == ("memory_mib",)
