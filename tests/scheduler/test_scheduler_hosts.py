"""The streams of the hosts: what a snapshot teaches, what a broken stream ends, what a restart keeps."""

import asyncio
from contextlib import AsyncExitStack

import grpc.aio
import pytest
from stoker_protos.scheduler.v1 import hosts_pb2, hosts_pb2_grpc
from stoker_protos.v1 import invocations_pb2
from stoker_scheduler.scheduler import running_scheduler
from stoker_service.channels import open_channel
from stoker_service.errors import ErrorKind
from stoker_service.status import error_from_rpc

from tests.scheduler.scheduler_client import SchedulerClient, a_scheduler, settings_of
from tests.scheduler.scripted_host import WAIT_S, ScriptedHost
from tests.scheduler.values import a_spec

COLD, WARM = invocations_pb2.START_KIND_COLD, invocations_pb2.START_KIND_WARM


async def test_operators_and_frontends_see_the_hosts() -> None:
    async with a_scheduler() as scheduler, ScriptedHost().connected(scheduler.channel):
        await scheduler.until(lambda fleet: len(fleet.hosts) == 1)
        (host,) = (await scheduler.fleet()).hosts
        assert (host.accelerator, host.accelerator_reason, host.memory_mib) == ("qemu", "this is a test", 4096)
        assert await scheduler.hosts() == ["h1 h1:7403"]


async def test_the_first_report_must_be_a_snapshot() -> None:
    async with a_scheduler() as scheduler:
        stream = hosts_pb2_grpc.HostServiceStub(scheduler.channel).Connect(timeout=WAIT_S)
        await stream.write(hosts_pb2.ConnectRequest(vm_gone=hosts_pb2.VmGone(vm="vm-1")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        error = error_from_rpc(caught.value)
        assert (error.kind, error.reason, error.field) == (ErrorKind.INVALID_ARGUMENT, "SNAPSHOT_MISSING", "snapshot")


async def test_a_broken_rule_in_a_report_ends_the_stream_and_forgets_the_host() -> None:
    async with a_scheduler() as scheduler:
        stream = hosts_pb2_grpc.HostServiceStub(scheduler.channel).Connect(timeout=WAIT_S)
        await stream.write(hosts_pb2.ConnectRequest(snapshot=ScriptedHost().snapshot()))
        await scheduler.until(lambda fleet: len(fleet.hosts) == 1)
        await stream.write(hosts_pb2.ConnectRequest())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await scheduler.hosts() == []


async def test_a_lost_host_ends_its_leases_at_once() -> None:
    host, other = ScriptedHost("h1", 512), ScriptedHost("h2", 4096)
    async with a_scheduler() as scheduler, other.connected(scheduler.channel):
        spec = a_spec()
        async with host.connected(scheduler.channel):
            await scheduler.until(lambda fleet: len(fleet.hosts) == 2)
            lost = await scheduler.acquire(spec)
            assert lost.lease.host == "h1"
        await scheduler.until(lambda fleet: len(fleet.hosts) == 1)
        assert await scheduler.renew(lost.lease.id) == [lost.lease.id]
        assert (await scheduler.acquire(spec)).lease.host == "h2"


async def test_a_host_lost_midway_lets_its_demands_go_elsewhere() -> None:
    host, other = ScriptedHost("h1", 512), ScriptedHost("h2", 4096)
    host.gates["create_vm"].clear()
    async with a_scheduler() as scheduler, other.connected(scheduler.channel):
        async with host.connected(scheduler.channel):
            await scheduler.until(lambda fleet: len(fleet.hosts) == 2)
            call = scheduler.acquire(a_spec())
            await host.until(lambda: host.count("create_vm"))
        assert (await call).lease.host == "h2"


async def test_demands_wait_while_no_host_is_connected() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler:
        call = scheduler.acquire(a_spec())
        assert (await scheduler.refusal(a_spec(memory_mib=100_000), wait_s=0.1)).reason == "DEADLINE_EXCEEDED"
        async with host.connected(scheduler.channel):
            assert (await call).start == COLD


async def test_another_stream_of_a_host_replaces_the_first() -> None:
    first, second = ScriptedHost(), ScriptedHost()
    async with a_scheduler() as scheduler, first.connected(scheduler.channel):
        await scheduler.until(lambda fleet: len(fleet.hosts) == 1)
        async with second.connected(scheduler.channel):
            async with asyncio.timeout(WAIT_S):
                await first.closed.wait()
            await scheduler.acquire(a_spec())
            assert (first.count("create_vm"), second.count("create_vm")) == (0, 1)
            assert await scheduler.hosts() == ["h1 h1:7403"]


async def test_a_restarted_scheduler_takes_over_leases_and_containers() -> None:
    host, spec = ScriptedHost(), a_spec()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        held = await scheduler.acquire(spec)
        idle = await scheduler.acquire(spec)
        await scheduler.release(idle.lease)
        await host.until(lambda: host.containers[idle.lease.container].lease_id == "")

    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        await scheduler.until(lambda fleet: len(fleet.containers) == 2)
        assert await scheduler.container_states() == {held.lease.container: "leased", idle.lease.container: "idle"}
        assert await scheduler.renew(held.lease.id) == []
        warm = await scheduler.acquire(spec)
        assert (warm.start, warm.lease.container) == (WARM, idle.lease.container)
        await scheduler.release(held.lease)
        assert (await scheduler.acquire(spec)).lease.container == held.lease.container
    assert host.count("create_vm") == 1


async def test_a_lease_taken_over_ends_when_nobody_renews_it() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        held = await scheduler.acquire(a_spec())
    async with a_scheduler(lease_ttl_s=0.1) as scheduler, host.connected(scheduler.channel):
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["idle"])
        await host.until(lambda: host.containers[held.lease.container].lease_id == "")


async def test_unknown_leases_have_not_ended_while_their_hosts_may_come_back() -> None:
    async with a_scheduler(recovery_s=60) as scheduler:
        assert await scheduler.renew("a-lease-of-before") == []
    async with a_scheduler(recovery_s=0) as scheduler:
        assert await scheduler.renew("a-lease-of-before") == ["a-lease-of-before"]


async def test_nothing_is_called_too_large_while_hosts_may_come_back() -> None:
    small, large = ScriptedHost("h1", 512), ScriptedHost("h2", 4096)
    async with a_scheduler(recovery_s=60) as scheduler, small.connected(scheduler.channel):
        await scheduler.until(lambda fleet: len(fleet.hosts) == 1)
        call = scheduler.acquire(a_spec(memory_mib=2000))
        async with large.connected(scheduler.channel):
            assert (await call).lease.host == "h2"


async def test_a_container_in_the_making_at_a_restart_serves_whoever_comes() -> None:
    host, spec = ScriptedHost(), a_spec()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        first = await scheduler.acquire(spec)
    status = host.containers[first.lease.container]
    status.state = hosts_pb2.CONTAINER_STATE_CREATING
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["creating"])
        call = scheduler.acquire(spec, "f2")
        status.state = hosts_pb2.CONTAINER_STATE_LOADED
        await host.report(container=status)
        grant = await call
        assert grant.lease.container == first.lease.container
        await host.until(lambda: host.containers[first.lease.container].holder == "f2")
    assert host.count("create_container") == 1


async def test_the_host_is_the_truth() -> None:
    host, spec = ScriptedHost(), a_spec()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        grant = await scheduler.acquire(spec)
        status = host.containers[grant.lease.container]
        status.lease_id = status.holder = ""
        await host.report(container=status)
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["idle"])

        status.lease_id, status.holder = "a-lease-of-before", "f1"
        await host.report(container=status)
        await scheduler.until(lambda fleet: [c.state for c in fleet.containers] == ["leased"])
        assert await scheduler.renew("a-lease-of-before", grant.lease.id) == [grant.lease.id]

        await host.report(container_gone=hosts_pb2.ContainerGone(container=status.container, reason="exited"))
        await scheduler.until(lambda fleet: not fleet.containers)
        assert await scheduler.renew("a-lease-of-before") == ["a-lease-of-before"]


async def test_a_scheduler_that_stops_waits_neither_for_hosts_nor_for_those_who_wait() -> None:
    async with asyncio.timeout(WAIT_S), AsyncExitStack() as clients:
        async with running_scheduler(settings_of(drain_s=60)) as server:
            scheduler = SchedulerClient(await clients.enter_async_context(open_channel(server.address)))
            host = await clients.enter_async_context(ScriptedHost(memory_mib=512).connected(scheduler.channel))
            await scheduler.acquire(a_spec())
            waiting = scheduler.acquire(a_spec(memory_mib=300), wait_s=60)
            await scheduler.refusal(a_spec(memory_mib=300), wait_s=0.05)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await waiting
        assert error_from_rpc(caught.value).reason == "STOPPING"
        await host.closed.wait()
