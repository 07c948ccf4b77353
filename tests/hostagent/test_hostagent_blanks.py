"""Blank containers: used where there are some, replaced, reported, and found again after a restart."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from stoker_hostagent import blanks
from stoker_hostagent.blanks import prepare_template
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_protos.v1 import invocations_pb2, versions_pb2

from tests.hostagent.hostagent_peers import FleetConnection
from tests.hostagent.memory_machines import MemoryGuest
from tests.hostagent.running_host import VM, Surroundings, frontend, running_host, surroundings

BOTH = {"python3": 1, "nodejs": 1}
RUNTIMES = {versions_pb2.RUNTIME_PYTHON3: "python3", versions_pb2.RUNTIME_NODEJS: "nodejs"}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to be quiet for long."""
    monkeypatch.setattr("stoker_hostagent.blanks.QUIET_S", 0.01)


def blanks_of(vm: hosts_pb2.VmStatus) -> dict[str, int]:
    return {RUNTIMES[each.runtime]: each.count for each in vm.blanks}


async def until_blanks(scheduler: FleetConnection, **counts: int) -> None:
    """Waits until the VM is reported to have just these."""
    await scheduler.until(lambda report: report.vm.vm == VM and blanks_of(report.vm) == counts)


async def a_vm_with_blanks(around: Surroundings, scheduler: FleetConnection) -> None:
    scheduler.command(around.create_vm())
    await until_blanks(scheduler, **BOTH)
    await scheduler.obey(around.assign_vm())


async def test_a_vm_that_has_booted_gets_one_of_each_runtime_and_tells(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        scheduler.command(around.create_vm())
        await until_blanks(scheduler, **BOTH)
        assert all(id.startswith("blank-") and len(id) == 18 for id in around.guest.containers)


async def test_a_start_where_one_waits_is_primed_and_gives_it_the_versions_limits(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await a_vm_with_blanks(around, scheduler)
        around.guest.may_create.clear()
        result = await scheduler.obey(around.create_container(around.version()))
        assert (result.error_reason, result.start) == ("", invocations_pb2.START_KIND_PRIMED)
        container = around.guest.containers["c-1"]
        assert (container.memory_mib, container.tmp_mib) == (128, 64)
        async with frontend(address) as caller:
            assert (await caller.invoke(1)).HasField("finished")


async def test_one_that_was_used_is_replaced(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await a_vm_with_blanks(around, scheduler)
        scheduler.command(around.create_container(around.version()))
        await until_blanks(scheduler, nodejs=1)
        await until_blanks(scheduler, **BOTH)


async def test_without_them_a_start_is_cold(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around, blank_containers=0) as (_, scheduler):
        for command in (around.create_vm(), around.assign_vm()):
            await scheduler.obey(command)
        result = await scheduler.obey(around.create_container(around.version()))
        assert result.start == invocations_pb2.START_KIND_COLD
        assert list(around.guest.containers) == ["c-1"]


async def test_none_is_made_at_once_while_somebody_waits_in_its_vm(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await a_vm_with_blanks(around, scheduler)
        scheduler.command(around.create_container(around.version("main.wait")))
        await until_blanks(scheduler, nodejs=1)
        await until_blanks(scheduler, **BOTH)
        async with frontend(address) as caller:
            await caller.send(1)
            await around.guest.has_begun.wait()
            await scheduler.obey(around.create_container(around.version(number=2), "c-2"))
            for _ in range(5):
                await asyncio.sleep(blanks.QUIET_S)  # when somebody would notice that it is quiet
                assert await around.guest.wait_for_blanks("nodejs") != []
            await caller.cancel(1)
        await around.guest.wait_for_blanks("nodejs", "python3")


async def test_the_last_one_is_replaced_soon_also_where_invocations_never_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_hostagent.blanks.PATIENCE_WITHOUT_S", 0.05)
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await a_vm_with_blanks(around, scheduler)
        scheduler.command(around.create_container(around.version("main.wait")))
        await until_blanks(scheduler, nodejs=1)
        await until_blanks(scheduler, **BOTH)
        async with frontend(address) as caller:
            await caller.send(1)
            await around.guest.has_begun.wait()
            small = dataclasses.replace(around.version(number=2), memory_mib=64)
            await scheduler.obey(around.create_container(small, "c-2"))
            await around.guest.wait_for_blanks("nodejs", "python3")
            await caller.cancel(1)


async def test_one_that_is_being_made_is_waited_for(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await a_vm_with_blanks(around, scheduler)
        around.guest.may_create.clear()
        await scheduler.obey(around.create_container(around.version()))
        await around.guest.is_creating.wait()
        second = around.create_container(around.version(number=2), "c-2")
        scheduler.command(second)
        await scheduler.until(lambda report: report.container.container == "c-2")
        around.guest.may_create.set()
        assert (await scheduler.result(second.command_id)).start == invocations_pb2.START_KIND_PRIMED


async def test_they_make_way_when_memory_is_short_and_come_back(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await a_vm_with_blanks(around, scheduler)
        # 300 MiB for containers: two of 144 leave 12.
        for number in (1, 2):
            version = dataclasses.replace(around.version(number=number), memory_mib=144)
            await scheduler.obey(around.create_container(version, f"c-{number}"))
        await around.guest.wait_for_blanks()
        await scheduler.obey(around.command(destroy_container=hosts_pb2.DestroyContainer(container="c-2")))
        await around.guest.wait_for_blanks("nodejs", "python3")


async def test_one_that_ends_by_itself_is_replaced(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await a_vm_with_blanks(around, scheduler)
        (blank,) = [id for id, one in around.guest.containers.items() if one.runtime == "python3"]
        del around.guest.containers[blank]
        assert around.machines.listener is not None
        around.machines.listener.container_exited(VM, blank, "exited")
        await until_blanks(scheduler, nodejs=1)
        await until_blanks(scheduler, **BOTH)


async def test_one_that_could_not_be_used_is_destroyed(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await a_vm_with_blanks(around, scheduler)
        (blank,) = [id for id, one in around.guest.containers.items() if one.runtime == "python3"]
        version = around.version()
        around.artifacts.artifacts.clear()
        result = await scheduler.obey(around.create_container(version))
        assert result.error_reason == "ARTIFACT_NOT_FOUND"
        await around.guest.wait_until_gone(blank)


async def test_those_of_a_template_are_known_at_the_first_start(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        template = MemoryGuest()
        await prepare_template(template, 1)
        # No other can be made, so a primed start has one of these.
        template.may_create.clear()
        around.machines.next_guest = template
        for command in (around.create_vm(), around.assign_vm()):
            await scheduler.obey(command)
        result = await scheduler.obey(around.create_container(around.version()))
        assert result.start == invocations_pb2.START_KIND_PRIMED


async def test_after_a_restart_they_are_found_and_used(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await a_vm_with_blanks(around, scheduler)
            # Otherwise the one that is used is replaced at any time, also while the host agent stops.
            around.guest.may_create.clear()
            await scheduler.obey(around.create_container(around.version()))
            (kept,) = await around.guest.wait_for_blanks("nodejs")
        async with running_host(around) as (_, scheduler):
            snapshot = (await scheduler.report()).snapshot
            assert [blanks_of(vm) for vm in snapshot.vms] == [{"nodejs": 1}]
            assert [each.container for each in snapshot.containers] == ["c-1"]
            assert kept in around.guest.containers


async def test_a_warming_vms_are_found_too(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await scheduler.obey(around.create_vm())
            await around.guest.wait_for_blanks("nodejs", "python3")
        async with running_host(around) as (_, scheduler):
            assert [blanks_of(vm) for vm in (await scheduler.report()).snapshot.vms] == [BOTH]
