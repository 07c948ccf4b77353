"""Code comes to the host while a VM is given to its tenant."""

import asyncio
from pathlib import Path

from tests.hostagent.running_host import running_host, surroundings


async def test_code_is_fetched_while_a_vm_is_given_to_its_tenant_and_only_once(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        version = around.version()
        around.machines.may_assign.clear()
        assign = around.assign_vm(first=version)
        scheduler.command(assign)
        async with asyncio.timeout(5):
            await around.artifacts.has_begun.wait()
        around.machines.may_assign.set()
        assert (await scheduler.result(assign.command_id)).error_reason == ""
        result = await scheduler.obey(around.create_container(version))
        assert (result.error_reason, around.artifacts.fetches) == ("", 1)


async def test_that_code_cannot_be_fetched_is_told_by_the_container_that_needs_it(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        version = around.version()
        around.artifacts.artifacts.clear()
        assert (await scheduler.obey(around.assign_vm(first=version))).error_reason == ""
        assert (await scheduler.obey(around.create_container(version))).error_reason == "ARTIFACT_NOT_FOUND"


async def test_code_of_another_tenant_is_not_fetched(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        await scheduler.obey(around.assign_vm(first=around.version(tenant="umbrella")))
        await scheduler.obey(around.create_container(around.version()))
        assert around.artifacts.fetches == 1
