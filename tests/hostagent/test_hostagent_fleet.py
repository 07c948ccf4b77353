"""What the scheduler sees of a host, and what it can have done there."""

import dataclasses
from pathlib import Path

import pytest
from stoker_hostagent.hostagent import serving
from stoker_hostagent.labels import label_of
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_protos.v1 import invocations_pb2

from tests.hostagent.hostagent_peers import running_scheduler
from tests.hostagent.running_host import VM, frontend, running_host, surroundings


async def test_the_first_report_is_a_snapshot(tmp_path: Path) -> None:
    async with (
        surroundings(tmp_path) as around,
        running_host(around, memory_mib=2048, vcpus=8) as (address, scheduler),
    ):
        snapshot = (await scheduler.report()).snapshot
        assert (snapshot.host, snapshot.address) == ("host-1", address)
        assert (snapshot.memory_mib, snapshot.vcpus) == (2048, 8)
        assert (snapshot.accelerator, snapshot.accelerator_reason) == ("qemu", "these machines are made of memory")
        assert (list(snapshot.vms), list(snapshot.containers)) == ([], [])


async def test_another_address_can_be_advertised(tmp_path: Path) -> None:
    async with (
        surroundings(tmp_path) as around,
        running_host(around, advertised_address="host-1.example:7403") as (_, scheduler),
    ):
        assert (await scheduler.report()).snapshot.address == "host-1.example:7403"


async def test_each_change_of_a_container_is_reported_before_the_result(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        await scheduler.obey(around.assign_vm())
        scheduler.command(around.create_container(around.version()))
        reports = [await scheduler.report() for _ in range(3)]
        assert [report.container.state for report in reports[:2]] == [
            hosts_pb2.CONTAINER_STATE_CREATING,
            hosts_pb2.CONTAINER_STATE_LOADED,
        ]
        assert (reports[1].container.lease_id, reports[1].container.holder) == ("lease-1", "frontend-1")
        assert reports[1].container.spec.uid == around.version().uid
        assert reports[2].result.error_reason == ""
        assert reports[2].result.init_ms > 0


async def test_commands_given_together_are_carried_out_in_order(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        commands = [
            around.create_vm(),
            around.assign_vm(),
            around.create_container(around.version()),
            around.set_lease("lease-2"),
            around.command(destroy_container=hosts_pb2.DestroyContainer(container="c-1")),
        ]
        for command in commands:
            scheduler.command(command)
        results = [await scheduler.result(command.command_id) for command in commands]
        assert [result.error_reason for result in results] == [""] * 5
        assert around.guest.containers == {}


async def test_a_slow_command_holds_up_nothing_else(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        around.machines.may_create.clear()
        slow = around.create_vm("vm-00000000000a")
        scheduler.command(slow)
        await scheduler.until(lambda report: report.vm.state == hosts_pb2.VM_STATE_CREATING)
        result = await scheduler.obey(around.set_lease("lease-2", container="c-9"))
        assert result.error_reason == "CONTAINER_NOT_FOUND"
        around.machines.may_create.set()
        assert (await scheduler.result(slow.command_id)).error_reason == ""


async def test_commands_can_be_repeated(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        for command in (
            around.create_vm(),
            around.create_vm(),
            around.assign_vm(),
            around.assign_vm(),
            around.create_container(around.version()),
            around.create_container(around.version()),
            around.command(destroy_container=hosts_pb2.DestroyContainer(container="c-1")),
            around.command(destroy_container=hosts_pb2.DestroyContainer(container="c-1")),
            around.command(destroy_vm=hosts_pb2.DestroyVm(vm=VM)),
            around.command(destroy_vm=hosts_pb2.DestroyVm(vm=VM)),
        ):
            assert (await scheduler.obey(command)).error_reason == ""


async def test_code_that_cannot_be_loaded_is_the_functions_failure(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        for command in (around.create_vm(), around.assign_vm()):
            await scheduler.obey(command)
        command = around.create_container(around.version("main.missing"))
        scheduler.command(command)
        await scheduler.until(lambda report: report.container_gone.container == "c-1")
        result = await scheduler.result(command.command_id)
        assert result.error_reason == ""
        assert result.load_error.kind == invocations_pb2.FUNCTION_ERROR_KIND_LOAD
        assert result.load_error.type == "ImportError"


async def test_a_container_whose_code_is_not_to_be_had_leaves_nothing(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        for command in (around.create_vm(), around.assign_vm()):
            await scheduler.obey(command)
        version = around.version()
        around.artifacts.artifacts.clear()
        result = await scheduler.obey(around.create_container(version))
        assert result.error_reason == "ARTIFACT_NOT_FOUND"
        await around.guest.wait_until_gone("c-1")
        assert around.guest.containers == {}


async def test_a_vm_takes_containers_of_its_own_tenant_alone(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        result = await scheduler.obey(around.create_container(around.version()))
        assert result.error_reason == "VM_NOT_OF_TENANT"
        await scheduler.obey(around.assign_vm(tenant="umbrella"))
        result = await scheduler.obey(around.create_container(around.version()))
        assert result.error_reason == "VM_NOT_OF_TENANT"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({}, "COMMAND_UNKNOWN"),
        ({"create_vm": {"vm": VM, "shape": {"vcpus": 0, "memory_mib": 512}}}, "INVALID_FIELD"),
        ({"assign_vm": {"vm": "vm-00000000000f", "tenant": "acme"}}, "VM_NOT_FOUND"),
        ({"create_container": {"container": "c-1", "vm": VM, "spec": {"uid": "only"}}}, "INVALID_FIELD"),
    ],
)
async def test_a_bad_command_says_why(tmp_path: Path, command: dict[str, object], reason: str) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        result = await scheduler.obey(around.command(**command))
        assert result.error_reason == reason
        assert result.error_message


async def test_a_vm_that_ends_takes_its_containers_along(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await around.prepare(scheduler, around.version())
        scheduler.command(around.command(destroy_vm=hosts_pb2.DestroyVm(vm=VM)))
        reports = [await scheduler.report() for _ in range(2)]
        assert reports[0].container_gone.container == "c-1"
        assert reports[1].vm_gone.vm == VM


async def test_a_container_that_exits_by_itself_is_reported(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await around.prepare(scheduler, around.version())
        assert around.machines.listener is not None
        around.machines.listener.container_exited(VM, "c-1", "exited")
        gone = await scheduler.until(lambda report: report.HasField("container_gone"))
        assert (gone.container_gone.container, gone.container_gone.reason) == ("c-1", "exited")


async def test_after_a_break_a_snapshot_tells_what_happened_meanwhile(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await around.prepare(scheduler, around.version())
        around.machines.may_create.clear()
        scheduler.command(around.create_vm("vm-00000000000a"))
        await scheduler.until(lambda report: report.vm.vm == "vm-00000000000a")
        scheduler.hang_up()
        around.machines.may_create.set()
        again = await around.fleet.connection()
        snapshot = (await again.report()).snapshot
        states = {vm.vm: vm.state for vm in snapshot.vms}
        assert states == {VM: hosts_pb2.VM_STATE_ACTIVE, "vm-00000000000a": hosts_pb2.VM_STATE_WARMING}
        assert [(one.container, one.lease_id, one.holder) for one in snapshot.containers] == [
            ("c-1", "lease-1", "frontend-1")
        ]


async def test_it_waits_for_a_scheduler_that_comes_later(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_scheduler() as (_, address):
            pass
        async with (
            serving(around.settings(scheduler_address=address), around.machines),
            running_scheduler(address) as (fleet, _),
        ):
            assert (await (await fleet.connection()).report()).snapshot.host == "host-1"


async def test_a_scheduler_that_does_not_take_reports_gets_a_snapshot_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_hostagent.hostagent.MAX_UNSENT_REPORTS", 50)
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        assert around.machines.listener is not None
        # No other task runs meanwhile, so nothing is sent.
        for _ in range(51):
            around.machines.listener.vm_changed(around.machines.vms[VM])
        again = await around.fleet.connection()
        assert [one.vm for one in (await again.report()).snapshot.vms] == [VM]


async def test_after_a_restart_containers_are_found_and_a_lease_still_counts(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await around.prepare(scheduler, around.version())
        async with running_host(around) as (address, scheduler):
            snapshot = (await scheduler.report()).snapshot
            assert [(one.container, one.state, one.lease_id) for one in snapshot.containers] == [
                ("c-1", hosts_pb2.CONTAINER_STATE_LOADED, "")
            ]
            assert snapshot.containers[0].spec.environment == {"GREETING": "hi"}
            async with frontend(address) as caller:
                assert (await caller.invoke(1)).HasField("finished")
                leased = await scheduler.until(lambda report: report.HasField("container"))
                assert (leased.container.lease_id, leased.container.holder) == ("lease-1", "frontend-1")
        assert around.artifacts.fetches == 1


async def test_after_a_restart_a_new_lease_beats_one_from_before(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await around.prepare(scheduler, around.version())
        async with running_host(around) as (address, scheduler), frontend(address) as caller:
            await scheduler.obey(around.set_lease("lease-2"))
            assert (await caller.invoke(1)).failed.reason == "LEASE_STALE"
            assert (await caller.invoke(2, lease_id="lease-2")).HasField("finished")


async def test_a_lease_from_before_a_restart_ends_if_its_holder_does_not_return(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await around.prepare(scheduler, around.version())
        async with running_host(around, holder_return_s=0) as (address, _), frontend(address) as caller:
            await caller.invoke(1, container="c-9")
            assert (await caller.invoke(2)).failed.reason == "LEASE_STALE"


async def test_after_a_restart_what_cannot_be_used_is_destroyed(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await around.prepare(scheduler, around.version())
        await around.guest.create_container("c-blank", "python3", 128, 64)
        async with running_host(around) as (_, scheduler):
            snapshot = (await scheduler.report()).snapshot
            assert [one.container for one in snapshot.containers] == ["c-1"]
            assert list(around.guest.containers) == ["c-1"]
        around.guest.is_reachable = False
        async with running_host(around) as (_, scheduler):
            assert list((await scheduler.report()).snapshot.vms) == []


async def test_a_guest_cannot_claim_containers_of_another_tenant_after_a_restart(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await around.prepare(scheduler, around.version())
        container = around.guest.containers["c-1"]
        assert container.code is not None
        forged = label_of(around.version(tenant="umbrella"))
        container.code = dataclasses.replace(container.code, label=forged)
        async with running_host(around) as (_, scheduler):
            assert list((await scheduler.report()).snapshot.containers) == []
            assert around.guest.containers == {}
