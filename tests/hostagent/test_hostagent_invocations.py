"""Invocations, as a frontend has them run on a host."""

import asyncio
import dataclasses
from pathlib import Path

import grpc.aio
import pytest
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_protos.v1 import invocations_pb2
from stoker_service.channels import open_channel
from stoker_service.errors import ErrorKind
from stoker_service.status import error_from_rpc

from tests.hostagent.running_host import frontend, running_host, surroundings

MIB = 1024 * 1024


async def test_a_function_answers(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        async with frontend(address) as caller:
            response = await caller.invoke(7, b'{"a": 1}', traceparent="00-11-22-01")
            assert response.call_id == 7
            assert response.finished.payload == b'{"a": 1}'
            assert response.finished.content_type == "application/json"
            assert response.finished.run_ms == 1.5
            assert response.finished.log_tail == b""
            assert not response.finished.HasField("function_error")
            assert (await caller.invoke(8, log_tail=True)).finished.log_tail == b"said"
        (first, _) = around.guest.containers["c-1"].invocations
        assert (first.id, first.timeout_ms, first.traceparent) == ("invocation-7", 5000, "00-11-22-01")
        code = around.guest.containers["c-1"].code
        assert code is not None
        assert (code.share, code.path) == ("code", around.version().artifact_sha256)
        assert code.environment == {"GREETING": "hi"}


async def test_the_versions_timeout_bounds_that_of_an_order(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        async with frontend(address) as caller:
            await caller.invoke(1, timeout_ms=1_000_000)
        assert around.guest.containers["c-1"].invocations[0].timeout_ms == 5000


@pytest.mark.parametrize(
    "changes", [{"lease_id": "lease-2"}, {"lease_id": ""}, {"container": "c-2"}], ids=["other", "none", "container"]
)
async def test_without_the_containers_lease_nothing_runs(tmp_path: Path, changes: dict[str, object]) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        async with frontend(address) as caller:
            response = await caller.invoke(1, b"{}", **changes)
            assert response.failed.reason == "LEASE_STALE"
            assert (await caller.invoke(2)).HasField("finished")
        assert len(around.guest.containers["c-1"].invocations) == 1


async def test_a_new_lease_ends_the_one_before(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        await scheduler.obey(around.set_lease("lease-2"))
        async with frontend(address) as caller:
            assert (await caller.invoke(1)).failed.reason == "LEASE_STALE"
            assert (await caller.invoke(2, lease_id="lease-2")).HasField("finished")


async def test_a_container_runs_one_invocation_at_a_time(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version("main.wait"))
        async with frontend(address) as caller:
            await caller.send(1)
            response = await caller.invoke(2)
            assert (response.call_id, response.failed.reason) == (2, "LEASE_STALE")


async def test_a_handler_that_overruns_fails_and_its_container_goes(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version("main.wait"))
        async with frontend(address) as caller:
            finished = (await caller.invoke(1, timeout_ms=20)).finished
            assert finished.function_error.kind == invocations_pb2.FUNCTION_ERROR_KIND_TIMEOUT
            assert finished.container_lost
            gone = await scheduler.until(lambda report: report.HasField("container_gone"))
            assert (gone.container_gone.container, gone.container_gone.reason) == ("c-1", "killed")
            assert (await caller.invoke(2)).failed.reason == "LEASE_STALE"


async def test_a_cancelled_invocation_is_not_answered_and_its_container_goes(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version("main.wait"))
        async with frontend(address) as caller:
            await caller.send(1)
            await around.guest.has_begun.wait()
            await caller.cancel(1)
            await around.guest.wait_until_gone("c-1")
            assert (await caller.invoke(2)).call_id == 2


async def test_a_container_runs_as_many_at_once_as_its_version_says(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, dataclasses.replace(around.version("main.wait"), concurrency=3))
        async with frontend(address) as caller:
            for call_id in (1, 2, 3):
                await caller.send(call_id)
            refused = await caller.invoke(4)
            assert (refused.call_id, refused.failed.reason) == (4, "LEASE_STALE")
            code = around.guest.containers["c-1"].code
            assert code is not None
            assert code.concurrency == 3


async def test_one_of_several_is_cancelled_alone_and_its_place_is_free(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, dataclasses.replace(around.version("main.wait"), concurrency=2))
        async with frontend(address) as caller:
            await caller.send(1, timeout_ms=60_000)
            await caller.send(2)
            await caller.cancel(1)
            await caller.send(3, timeout_ms=100)
            late = await caller.answer()
            assert (late.call_id, late.finished.function_error.type) == (3, "Timeout")
        begun = [invocation.id for invocation in around.guest.containers["c-1"].invocations]
        assert begun == ["invocation-1", "invocation-2", "invocation-3"]


async def test_a_container_that_one_of_several_ends_takes_no_others(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, dataclasses.replace(around.version("main.exit"), concurrency=2))
        async with frontend(address) as caller:
            assert (await caller.invoke(1)).finished.container_lost
            await around.guest.wait_until_gone("c-1")
            assert (await caller.invoke(2)).failed.reason == "LEASE_STALE"


async def test_after_a_restart_a_container_still_runs_as_many_at_once(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        async with running_host(around) as (_, scheduler):
            await around.prepare(scheduler, dataclasses.replace(around.version("main.wait"), concurrency=2))
        async with running_host(around) as (address, scheduler), frontend(address) as caller:
            await caller.send(1)
            await caller.send(2)
            assert (await caller.invoke(3)).call_id == 3
            assert len(around.guest.containers["c-1"].invocations) == 2


async def test_an_unreachable_guest_loses_the_container_and_its_vm_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_hostagent.container_life.DESTROY_AGAIN_S", 0.001)
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        around.guest.is_reachable = False
        async with frontend(address) as caller:
            assert (await caller.invoke(1)).failed.reason == "CONTAINER_LOST"
        gone = await scheduler.until(lambda report: report.HasField("vm_gone"))
        assert gone.vm_gone.reason == "destroyed"


async def test_a_broken_stream_stops_its_invocations_and_ends_its_holders_leases(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version("main.wait"))
        result = await scheduler.obey(around.create_container(around.version(), "c-2", lease="lease-2"))
        assert not result.error_reason
        async with frontend(address) as caller:
            await caller.send(1)
            await around.guest.has_begun.wait()
        unleased = await scheduler.until(lambda report: report.container.container == "c-2")
        assert (unleased.container.lease_id, unleased.container.holder) == ("", "")
        gone = await scheduler.until(lambda report: report.HasField("holder_gone"))
        assert gone.holder_gone.holder == "frontend-1"
        await around.guest.wait_until_gone("c-1")
        assert "c-2" in around.guest.containers


async def test_a_holder_with_another_stream_keeps_its_leases(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        async with frontend(address) as first:
            await first.invoke(1)
            async with frontend(address) as second:
                await second.invoke(1)
            async with frontend(address, "frontend-9") as other:
                await other.invoke(1, lease_id="")
            await scheduler.until(lambda report: report.holder_gone.holder == "frontend-9")
            assert (await first.invoke(2)).HasField("finished")


async def test_large_and_small_payloads_share_a_stream(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around, max_unsent_mib=8) as (address, scheduler):
        await around.prepare(scheduler, around.version())
        for number in range(2, 6):
            command = around.create_container(around.version(), f"c-{number}", lease=f"lease-{number}")
            assert not (await scheduler.obey(command)).error_reason
        async with frontend(address) as caller:
            for number in range(1, 6):
                payload = b"x" * (6 * MIB if number < 5 else 1)
                await caller.send(number, payload, container=f"c-{number}", lease_id=f"lease-{number}")
            answers = [await caller.answer() for _ in range(5)]
        sizes = {answer.call_id: len(answer.finished.payload) for answer in answers}
        assert sizes == {1: 6 * MIB, 2: 6 * MIB, 3: 6 * MIB, 4: 6 * MIB, 5: 1}


async def test_a_frontend_with_too_much_running_is_held_back_and_none_is_lost(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around, max_invocations=1) as (address, scheduler):
        await around.prepare(scheduler, around.version("main.wait"))
        await scheduler.obey(around.create_container(around.version(), "c-2", lease="lease-2"))
        async with frontend(address) as caller:
            await caller.send(1, timeout_ms=50)
            await caller.send(2, container="c-2", lease_id="lease-2")
            assert [(await caller.answer()).call_id for _ in range(2)] == [1, 2]


async def test_a_stream_without_a_holder_is_refused(tmp_path: Path) -> None:
    async with (
        surroundings(tmp_path) as around,
        running_host(around) as (address, _),
        open_channel(address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in hostagent_pb2_grpc.InvocationServiceStub(channel).Connect():
                pass
        assert error_from_rpc(caught.value).reason == "HOLDER_MISSING"


async def test_a_message_without_a_frame_ends_the_stream_with_the_field_at_fault(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (address, _), frontend(address) as caller:
        await caller.stream.write(hostagent_pb2.ConnectRequest(call_id=1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.answer()
        error = error_from_rpc(caught.value)
        assert (error.kind, error.field) == (ErrorKind.INVALID_ARGUMENT, "frame")


async def test_a_host_agent_that_stops_lets_running_invocations_end(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around:
        stopping = asyncio.Event()

        async def run_host() -> None:
            async with running_host(around) as (address, scheduler):
                await around.prepare(scheduler, around.version("main.wait"))
                addresses.set_result(address)
                await stopping.wait()

        addresses: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        host = asyncio.create_task(run_host())
        async with frontend(await addresses) as caller:
            await caller.send(1, timeout_ms=200)
            await around.guest.has_begun.wait()
            stopping.set()
            assert (await caller.answer()).HasField("finished")
            await host


async def test_what_a_function_prints_can_be_read(tmp_path: Path) -> None:
    async with (
        surroundings(tmp_path) as around,
        running_host(around) as (address, scheduler),
        open_channel(address) as channel,
    ):
        await around.prepare(scheduler, around.version(number=3))
        listener = around.machines.listener
        assert listener is not None
        listener.lines_printed("vm-000000000001", "c-1", "invocation-1", "stderr", ["hello"], 0)
        reading = hostagent_pb2_grpc.HostLogServiceStub(channel).ReadLogs(
            hostagent_pb2.ReadLogsRequest(tenant="acme", function="hello", limit=10, follow=True)
        )
        entry = (await anext(aiter(reading))).entry
        assert (entry.version, entry.invocation_id, entry.container, entry.stream, entry.line) == (
            3,
            "invocation-1",
            "c-1",
            "stderr",
            "hello",
        )
        await scheduler.obey(around.command(destroy_container={"container": "c-1"}))
        listener.lines_printed("vm-000000000001", "c-1", "invocation-1", "stdout", ["last words"], 0)
        assert (await anext(aiter(reading))).entry.line == "last words"
        reading.cancel()


async def test_a_guest_cannot_speak_for_containers_of_another_vm(tmp_path: Path) -> None:
    async with (
        surroundings(tmp_path) as around,
        running_host(around) as (address, scheduler),
        open_channel(address) as channel,
    ):
        await around.prepare(scheduler, around.version())
        listener = around.machines.listener
        assert listener is not None
        listener.container_exited("vm-0000000000ff", "c-1", "exited")
        listener.lines_printed("vm-0000000000ff", "c-1", "invocation-1", "stdout", ["forged"], 0)
        listener.lines_printed("vm-000000000001", "c-1", "invocation-1", "stdout", ["true"], 0)
        request = hostagent_pb2.ReadLogsRequest(tenant="acme", function="hello", limit=10)
        reading = hostagent_pb2_grpc.HostLogServiceStub(channel).ReadLogs(request)
        read = [response.entry.line async for response in reading]
        assert read == ["true"]
        async with frontend(address) as caller:
            assert (await caller.invoke(1)).HasField("finished")
