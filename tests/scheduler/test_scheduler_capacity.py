"""Containers for callers, by a real scheduler and a host that speaks the real protocol."""

import asyncio

import grpc.aio
import pytest
from stoker_protos.scheduler.v1 import capacity_pb2, hosts_pb2
from stoker_protos.v1 import invocations_pb2
from stoker_service.errors import ErrorKind

from tests.scheduler.scheduler_client import a_scheduler
from tests.scheduler.scripted_host import WAIT_S, ScriptedHost
from tests.scheduler.values import PYTHON, VM_MIB, a_spec

COLD, WARM = invocations_pb2.START_KIND_COLD, invocations_pb2.START_KIND_WARM
PRIMED = invocations_pb2.START_KIND_PRIMED


def kinds(host: ScriptedHost) -> list[str | None]:
    return [command.WhichOneof("command") for command in host.commands]


async def test_the_search_order_from_a_new_vm_to_a_warm_container() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec(memory_mib=200)
        cold = await scheduler.acquire(spec)
        assert (cold.start, cold.init_ms, cold.lease.host_address) == (COLD, 12.5, "h1:7403")
        assert kinds(host) == ["create_vm", "assign_vm", "create_container"]
        # The host fetches what will run while it gives the VM to the tenant.
        assert host.commands[1].assign_vm.first == host.commands[2].create_container.spec == spec
        assert host.containers[cold.lease.container].lease_id == cold.lease.id

        beside = await scheduler.acquire(a_spec(memory_mib=200))
        assert (beside.lease.vm, kinds(host)[3:]) == (cold.lease.vm, ["create_container"])

        elsewhere = await scheduler.acquire(a_spec(memory_mib=200))
        assert elsewhere.lease.vm != cold.lease.vm

        await scheduler.release(cold.lease)
        warm = await scheduler.acquire(spec)
        assert (warm.start, warm.init_ms, warm.lease.container) == (WARM, 0, cold.lease.container)
        assert warm.lease.id != cold.lease.id
        assert host.containers[warm.lease.container].lease_id == warm.lease.id


async def test_a_blank_container_makes_a_primed_start() -> None:
    host = ScriptedHost()
    host.blanks = {PYTHON: 1}
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec(memory_mib=64)
        grants = [await scheduler.acquire(spec) for _ in range(2)]
        assert [grant.start for grant in grants] == [PRIMED, COLD]
        assert [grant.init_ms for grant in grants] == [12.5, 12.5]


async def test_usage_counts_a_functions_containers_by_version_and_who_waits() -> None:
    host = ScriptedHost(memory_mib=512)
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        first = await scheduler.acquire(a_spec(uid="u1", memory_mib=100, number=1))
        await scheduler.acquire(a_spec(uid="u1", memory_mib=100, number=1))
        await scheduler.acquire(a_spec(uid="u2", memory_mib=100, number=2))
        await scheduler.release(first.lease)
        waiting = scheduler.acquire(a_spec(uid="u3", memory_mib=400, number=3))
        async with asyncio.timeout(WAIT_S):
            while (usage := await scheduler.usage()).waiting == 0:
                pass
        assert [(one.version, one.loaded, one.leased, one.creating) for one in usage.versions][-1] == (2, 1, 1, 0)
        assert await scheduler.usage("another") == capacity_pb2.GetUsageResponse()
        waiting.cancel()


async def test_several_frontends_share_containers_and_never_one_at_the_same_time() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec(memory_mib=64)
        holders = [f"f{number % 3}" for number in range(12)]
        grants = await asyncio.gather(*(scheduler.acquire(spec, holder) for holder in holders))
        assert len({grant.lease.container for grant in grants}) == 12
        for grant, holder in zip(grants, holders, strict=True):
            assert host.containers[grant.lease.container].holder == holder
        await host.report(holder_gone=hosts_pb2.HolderGone(holder="f0"))
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers].count("idle") == 4)
        again = await asyncio.gather(*(scheduler.acquire(spec, "f3") for _ in range(4)))
        gone = {grant.lease.container for grant, holder in zip(grants, holders, strict=True) if holder == "f0"}
        assert {grant.lease.container for grant in again} == gone
        kept = [grant.lease.id for grant, holder in zip(grants, holders, strict=True) if holder != "f0"]
        assert await scheduler.renew(*kept, *(grant.lease.id for grant in again)) == []
        assert host.count("create_container") == 12


async def test_a_vm_of_the_warming_pool_is_given_to_the_tenant_and_replaced() -> None:
    host = ScriptedHost()
    async with a_scheduler(warming_vms=1) as scheduler, host.connected(scheduler.channel):
        (warming,) = await host.until(lambda: list(host.vms))
        await scheduler.until(lambda fleet: [vm.state for vm in fleet.vms] == ["warming"])
        grant = await scheduler.acquire(a_spec())
        assert grant.lease.vm == warming
        await host.until(lambda: len(host.vms) == 2)


async def test_a_vm_that_boots_for_the_pool_is_taken_rather_than_another_made() -> None:
    host = ScriptedHost()
    host.gates["create_vm"].clear()
    async with a_scheduler(warming_vms=1) as scheduler, host.connected(scheduler.channel):
        await host.until(lambda: host.count("create_vm"))
        calls = [scheduler.acquire(spec) for spec in (a_spec(), a_spec())]
        await scheduler.until(lambda fleet: len(fleet.containers) == 2)
        host.gates["create_vm"].set()
        vms = {(await call).lease.vm for call in calls}
        assert vms == {host.commands[0].create_vm.vm}


async def test_two_tenants_are_never_on_one_vm() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        tenants = ["acme", "other", "acme", "other"]
        grants = await asyncio.gather(*(scheduler.acquire(a_spec(tenant=tenant)) for tenant in tenants))
        vms = [grant.lease.vm for grant in grants]
        assert (vms[0], vms[1]) == (vms[2], vms[3])
        assert vms[0] != vms[1]


async def test_many_callers_of_one_cold_function_get_no_more_containers_than_they_need() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec(memory_mib=64)
        grants = await asyncio.gather(*(scheduler.acquire(spec) for _ in range(20)))
        assert len({grant.lease.container for grant in grants}) == 20
        assert host.count("create_container") == 20
        assert host.count("create_vm") == 4


async def test_what_falls_idle_first_serves_whoever_waits_and_what_was_made_stays_warm() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec()
        first = await scheduler.acquire(spec)
        host.gates["create_container"].clear()
        second = scheduler.acquire(spec, "f2")
        await host.until(lambda: host.count("create_container") == 2)
        await scheduler.release(first.lease)
        assert (await second).lease.container == first.lease.container

        host.gates["create_container"].set()
        fleet = await scheduler.until(lambda fleet: [c.state for c in fleet.containers].count("idle") == 1)
        kept = next(container.id for container in fleet.containers if container.state == "idle")
        await host.until(lambda: host.containers[kept].lease_id == "")
        third = await scheduler.acquire(spec)
        assert (third.start, third.lease.container) == (WARM, kept)


async def test_a_container_made_for_one_frontend_may_go_to_another() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        host.gates["create_container"].clear()
        spec = a_spec()
        gone = scheduler.acquire(spec, "f1")
        await host.until(lambda: host.count("create_container") == 1)
        other = scheduler.acquire(spec, "f2")
        await host.until(lambda: host.count("create_container") == 2)
        gone.cancel()
        host.gates["create_container"].set()
        grant = await other
        assert host.containers[grant.lease.container].holder == "f2"
        assert host.containers[grant.lease.container].lease_id == grant.lease.id


async def test_a_cancelled_caller_leaves_the_queue_at_once() -> None:
    async with a_scheduler(max_waiting=1) as scheduler, asyncio.timeout(WAIT_S):
        calls = [asyncio.ensure_future(scheduler.acquire(a_spec(), wait_s=60)) for _ in range(2)]
        (refused,), (waiting,) = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(refused.exception(), grpc.aio.AioRpcError)
        waiting.cancel()
        while (await scheduler.refusal(a_spec(), wait_s=0.1)).reason == "QUEUE_FULL":
            pass


async def test_a_full_queue_refuses_with_when_to_try_again() -> None:
    async with a_scheduler(max_waiting_per_tenant=2) as scheduler:
        calls = [scheduler.acquire(a_spec()) for _ in range(3)]
        done, waiting = await asyncio.wait(
            [asyncio.ensure_future(call) for call in calls], return_when=asyncio.FIRST_COMPLETED
        )
        (refused,) = done
        assert isinstance(error := refused.exception(), grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(waiting) == 2
        other = scheduler.acquire(a_spec(tenant="other"), wait_s=0.05)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        for call in calls:
            call.cancel()
        await asyncio.wait(waiting)


async def test_a_demand_without_room_waits_until_its_deadline() -> None:
    host = ScriptedHost(memory_mib=512)
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        await scheduler.acquire(a_spec(tenant="other"))
        error = await scheduler.refusal(a_spec(), wait_s=0.1)
        assert error.kind is ErrorKind.DEADLINE_EXCEEDED
        assert host.count("create_vm") == 1


async def test_what_is_too_large_for_every_host_is_refused_at_once() -> None:
    host = ScriptedHost(memory_mib=1024)
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        await scheduler.acquire(a_spec())
        error = await scheduler.refusal(a_spec(memory_mib=4000))
        assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "TOO_LARGE")
        assert error.metadata == {"largest_mib": str(1024 - (512 - VM_MIB) - 16)}
        assert error.field == "spec.memory_mib"


async def test_a_container_that_nobody_uses_makes_way() -> None:
    host = ScriptedHost(memory_mib=512)
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        first = await scheduler.acquire(a_spec(memory_mib=300))
        await scheduler.release(first.lease)
        second = await scheduler.acquire(a_spec(memory_mib=300))
        assert second.lease.vm == first.lease.vm
        assert first.lease.container not in host.containers

        await scheduler.release(second.lease)
        third = await scheduler.acquire(a_spec(tenant="other"))
        assert list(host.vms) == [third.lease.vm]


async def test_a_lease_released_as_broken_destroys_the_container() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec()
        first = await scheduler.acquire(spec)
        await scheduler.release(first.lease, broken=True)
        second = await scheduler.acquire(spec)
        assert second.lease.container != first.lease.container
        await host.until(lambda: list(host.containers) == [second.lease.container])
        await scheduler.release(first.lease)


async def test_a_lease_that_is_not_renewed_ends_and_its_container_serves_others() -> None:
    host = ScriptedHost()
    async with a_scheduler(lease_ttl_s=0.5) as scheduler, host.connected(scheduler.channel):
        spec = a_spec()
        kept, lost = (await scheduler.acquire(spec)).lease, (await scheduler.acquire(spec)).lease
        assert kept.ttl_ms == 500
        async with asyncio.timeout(WAIT_S):
            while (states := await scheduler.container_states())[lost.container] != "idle":
                assert await scheduler.renew(kept.id) == []
        assert states[kept.container] == "leased"
        assert await scheduler.renew(kept.id, lost.id) == [lost.id]
        await host.until(lambda: host.containers[lost.container].lease_id == "")
        again = await scheduler.acquire(spec)
        assert (again.start, again.lease.container) == (WARM, lost.container)


async def test_code_that_cannot_be_loaded_is_answered_and_leaves_nothing() -> None:
    host = ScriptedHost()
    host.load_errors.append(
        invocations_pb2.FunctionError(
            kind=invocations_pb2.FUNCTION_ERROR_KIND_LOAD, type="ImportError", message="no module x", stack_trace=["a"]
        )
    )
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        answer = await scheduler.acquire(a_spec())
        assert not answer.HasField("lease")
        assert (answer.load_error.type, list(answer.load_error.stack_trace)) == ("ImportError", ["a"])
        assert await scheduler.container_states() == {}
        assert host.count("create_container") == 1


async def test_a_container_that_ends_as_soon_as_it_is_made_is_not_given_to_anybody() -> None:
    host = ScriptedHost()
    host.gates["create_container"].clear()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        call = scheduler.acquire(a_spec())
        await host.until(lambda: host.count("create_container"))
        first = host.commands[-1].create_container.container
        await host.report(container_gone=hosts_pb2.ContainerGone(container=first, reason="exited"))
        host.gates["create_container"].set()
        assert (await call).lease.container != first
        assert host.count("create_container") == 2


@pytest.mark.parametrize("kind", ["create_vm", "assign_vm", "create_container", "set_lease"])
async def test_a_command_that_fails_is_tried_elsewhere(kind: str) -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec()
        if kind == "set_lease":
            await scheduler.release((await scheduler.acquire(spec)).lease)
            await host.until(lambda: host.count("set_lease") == 1)
        host.failures[kind].append("BROKEN")
        grant = await scheduler.acquire(spec)
        assert grant.start == COLD
        await host.until(lambda: set(host.containers) == {grant.lease.container})
        assert await scheduler.container_states() == {grant.lease.container: "leased"}


async def test_a_host_that_fails_again_and_again_is_reported_to_the_caller() -> None:
    host = ScriptedHost()
    host.failures["create_container"].extend(["NO_DISK"] * 3)
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        error = await scheduler.refusal(a_spec())
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "NO_DISK")
        assert "the test said so" in error.message
        assert host.count("create_container") == 3


async def test_a_command_that_is_never_answered_is_given_up() -> None:
    host = ScriptedHost()
    host.failures["create_container"].append("")
    async with a_scheduler(container_timeout_s=0.1) as scheduler, host.connected(scheduler.channel):
        grant = await scheduler.acquire(a_spec())
        assert host.count("destroy_container") >= 1
        assert grant.lease.container in host.containers


async def test_a_vm_that_turns_out_too_small_is_not_overfilled() -> None:
    host = ScriptedHost()
    async with a_scheduler(vm_reserve_mib=0) as scheduler, host.connected(scheduler.channel):
        grant = await scheduler.acquire(a_spec(memory_mib=VM_MIB + 50))
        assert host.vms[grant.lease.vm].shape.memory_mib == 1024


async def test_a_vm_without_containers_and_a_container_without_use_end() -> None:
    host = ScriptedHost()
    async with (
        a_scheduler(container_idle_s=0.05, vm_idle_s=0.05) as scheduler,
        host.connected(scheduler.channel),
    ):
        grant = await scheduler.acquire(a_spec())
        await scheduler.release(grant.lease)
        await host.until(lambda: not host.containers and not host.vms)
        await scheduler.until(lambda fleet: not fleet.vms)


async def test_a_crashed_vm_takes_its_leases_with_it() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec()
        first = await scheduler.acquire(spec)
        await host.lose_vm(first.lease.vm)
        await scheduler.until(lambda fleet: not fleet.containers)
        assert await scheduler.renew(first.lease.id) == [first.lease.id]
        assert (await scheduler.acquire(spec)).lease.vm != first.lease.vm


async def test_a_frontend_that_is_gone_leaves_its_containers_warm() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        spec = a_spec()
        first = await scheduler.acquire(spec, "f1")
        await host.report(holder_gone=hosts_pb2.HolderGone(holder="f1"))
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["idle"])
        second = await scheduler.acquire(spec, "f2")
        assert (second.start, second.lease.container) == (WARM, first.lease.container)
        assert await scheduler.renew(first.lease.id) == [first.lease.id]
