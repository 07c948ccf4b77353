"""Versions take over one after the other while callers call, through all services; only the VMs are of memory."""

import asyncio
from pathlib import Path

import pytest
from stoker.models import InvokeResult, Start
from stoker.rollovers import RolloverRule

from tests.together.whole import BROKEN, Whole, running_whole

pytestmark = pytest.mark.thorough

WITHIN_S = 30.0
CALLERS = 4
VERSIONS = 3


async def deploy(whole: Whole, directory: Path, text: str, timeout_s: int = 0) -> int:
    """Deploys code that has this text in it; returns the version's number."""
    code = directory / "code"
    code.mkdir(exist_ok=True)
    (code / "main.py").write_text(f"# {text}\n")
    done = await whole.client.deploy(
        "hello", code, runtime="python3", handler="main.echo", memory_mib=64, tmp_mib=1, timeout_s=timeout_s
    )
    return done.version.number


class Callers:
    """Calls `hello` again and again, and keeps what is answered."""

    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self._has_answered = asyncio.Condition()
        self.results: list[InvokeResult] = []

    async def call(self) -> None:
        while True:
            result = await self._whole.client.invoke("hello", {})
            async with self._has_answered:
                self.results.append(result)
                self._has_answered.notify_all()

    async def until_all_by(self, version: int) -> None:
        """Waits until the last few answers are all of one version."""

        def is_so() -> bool:
            last = self.results[-3 * CALLERS :]
            return len(last) == 3 * CALLERS and {result.executed_version for result in last} == {version}

        async with asyncio.timeout(WITHIN_S), self._has_answered:
            await self._has_answered.wait_for(is_so)


async def test_each_version_takes_over_and_nobody_waits_or_gets_an_error(tmp_path: Path) -> None:
    async with running_whole(tmp_path) as whole:
        await deploy(whole, tmp_path, "1")
        callers = Callers(whole)
        async with asyncio.TaskGroup() as group:
            calling = [group.create_task(callers.call()) for _ in range(CALLERS)]
            await callers.until_all_by(1)
            before = len(callers.results)
            for number in range(2, VERSIONS + 1):
                assert await deploy(whole, tmp_path, str(number)) == number
                await callers.until_all_by(number)
            for task in calling:
                task.cancel()
        results = callers.results[before:]
        assert all(result.function_error is None for result in results)
        assert {result.start for result in results} == {Start.WARM}
        meanwhile = {result.rollover.rule for result in results if result.rollover}
        assert meanwhile == {RolloverRule.SERVED_WHILE_LOADING}
        async with asyncio.timeout(WITHIN_S):
            # Those of the last version may have ended too, with the calls that were given up in them.
            while {each.version for each in (await whole.client.get_fleet()).containers} - {VERSIONS}:
                pass


async def test_broken_versions_one_after_the_other_leave_the_last_good_one_answering(tmp_path: Path) -> None:
    async with running_whole(tmp_path) as whole:
        await deploy(whole, tmp_path, "1")
        await whole.client.invoke("hello", {})
        for number in (2, 3):
            assert await deploy(whole, tmp_path, f"{BROKEN} {number}") == number
            async with asyncio.timeout(WITHIN_S):
                while True:
                    result = (await whole.client.invoke("hello", {})).raise_for_error()
                    assert result.executed_version == 1
                    if (await whole.client.get_rollover("hello")).load_failure:
                        break
        standing = await whole.client.get_rollover("hello")
        assert standing.load_failure is not None
        assert (standing.load_failure.version, standing.load_failure.error.type) == (3, "SyntaxError")
        assert [target.answering_version for target in standing.targets] == [1]
        await deploy(whole, tmp_path, "4")
        async with asyncio.timeout(WITHIN_S):
            while (await whole.client.invoke("hello", {})).raise_for_error().executed_version != 4:
                pass


async def test_containers_that_are_kept_loaded_are_replaced_without_a_gap(tmp_path: Path) -> None:
    async with running_whole(tmp_path) as whole:
        await deploy(whole, tmp_path, "1")
        await whole.client.set_concurrency("hello", provisioned=2)

        async def loaded() -> list[int]:
            containers = (await whole.client.get_fleet()).containers
            return sorted(each.version for each in containers if each.state in ("idle", "leased"))

        async with asyncio.timeout(WITHIN_S):
            while await loaded() != [1, 1]:
                pass
            await deploy(whole, tmp_path, "2")
            seen: list[list[int]] = []
            while (now := await loaded()) != [2, 2]:
                seen.append(now)
        assert all(len(each) >= 2 for each in seen)
        assert (await whole.client.invoke("hello", {})).start is Start.WARM


async def test_what_callers_can_see_is_waited_for_and_a_number_gets_its_version(tmp_path: Path) -> None:
    async with running_whole(tmp_path) as whole:
        await deploy(whole, tmp_path, "1")
        await whole.client.invoke("hello", {})
        await deploy(whole, tmp_path, "2", timeout_s=7)
        assert (await whole.client.invoke("hello", {}, qualifier="1")).executed_version == 1
        result = await whole.client.invoke("hello", {})
        assert result.executed_version == 2
        assert result.start is not Start.WARM
        assert result.rollover is not None
        assert result.rollover.differing_fields == ("timeout_s",)
