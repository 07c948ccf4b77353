"""No function and no tenant runs more at once than it may, and what is over that is refused at once."""

import asyncio

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import QuotaFailure
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_scheduler.limits import Admission, TenantLimits, Usage
from stoker_scheduler.machines import Demand, Version
from stoker_scheduler.waiting import Ticket
from stoker_service.errors import ErrorKind, StokerError
from stoker_service.status import STATUS_DETAILS_KEY

from tests.scheduler.codestore_peer import CodestorePeer, a_codestore
from tests.scheduler.scheduler_client import SchedulerClient, a_scheduler
from tests.scheduler.scripted_host import ScriptedHost
from tests.scheduler.values import a_spec


def a_version(function: str = "hello", tenant: str = "acme", concurrency: int = 1) -> Version:
    return Version("v1", tenant, function, 1, "a" * 64, 128, concurrency=concurrency)


def an_admission(maximum: int = 0, tenant: int = 1000, **own: int) -> tuple[Admission, Usage]:
    usage = Usage()
    return Admission(usage, TenantLimits(tenant, own), lambda _: maximum), usage


def admit(admission: Admission, number: int, version: Version) -> int:
    room = admission.room(version)
    admission.admit(Ticket(number, Demand(version, "f1")), room)
    return room


def test_the_last_lease_that_fits_allows_what_is_left() -> None:
    admission, usage = an_admission(maximum=10)
    version = a_version(concurrency=4)
    assert [admit(admission, number, version) for number in range(3)] == [4, 4, 2]
    with pytest.raises(StokerError) as refused:
        admission.room(version)
    error = refused.value
    assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "FUNCTION_CONCURRENCY")
    assert (error.quota, error.retry_after_s) == ("functions/hello", 1.0)
    assert usage.of_tenant("acme") == 10


def test_a_tenants_limit_is_over_all_its_functions_and_may_be_its_own() -> None:
    admission, _ = an_admission(tenant=2, large=3)
    for number, function in enumerate(("a", "b")):
        assert admit(admission, number, a_version(function)) == 1
    with pytest.raises(StokerError, match="TENANT_CONCURRENCY") as refused:
        admission.room(a_version("c"))
    assert refused.value.quota == "tenants/acme"
    assert admission.room(a_version("c", "other")) == 1
    assert admission.room(a_version("c", "large", concurrency=5)) == 3


@given(
    st.lists(st.tuples(st.sampled_from(("come", "go")), st.sampled_from("ab"), st.integers(1, 5)), max_size=60),
    st.integers(0, 12),
    st.integers(1, 20),
)
def test_what_is_admitted_is_never_over_a_limit(steps: list[tuple[str, str, int]], maximum: int, tenant: int) -> None:
    admission, usage = an_admission(maximum, tenant)
    admitted: list[tuple[Ticket, int]] = []
    for number, (step, function, concurrency) in enumerate(steps):
        version = a_version(function, concurrency=concurrency)
        used = {name: sum(n for t, n in admitted if t.demand.version.function == name) for name in "ab"}
        assert usage.of_tenant("acme") == sum(used.values()) <= tenant
        assert used == {name: usage.of_function(("acme", name)) for name in "ab"}
        if step == "go" and admitted:
            admission.settle(admitted.pop(0)[0])
        elif step == "come":
            is_full = (maximum and used[function] >= maximum) or sum(used.values()) >= tenant
            if is_full:
                with pytest.raises(StokerError):
                    admission.room(version)
                continue
            room = admission.room(version)
            assert 1 <= room <= concurrency
            ticket = Ticket(number, Demand(version, "f1"))
            admission.admit(ticket, room)
            admitted.append((ticket, room))


async def until_limited(scheduler: SchedulerClient, codestore: CodestorePeer, maximum: int) -> None:
    """Sets the maximum of `hello`, and waits until the scheduler has taken it in, as another function's tells."""
    await codestore.tell(codestore_pb2.FunctionConcurrency(tenant="acme", function="hello", maximum=maximum))
    await codestore.tell(codestore_pb2.FunctionConcurrency(tenant="marker", function="m", maximum=maximum))
    while True:
        grants = await asyncio.gather(
            *(scheduler.acquire(a_spec("m", tenant="marker", uid="marker")) for _ in range(maximum + 1)),
            return_exceptions=True,
        )
        for grant in grants:
            if not isinstance(grant, BaseException):
                await scheduler.release(grant.lease)
        if any(isinstance(grant, grpc.aio.AioRpcError) for grant in grants):
            return


async def test_a_functions_maximum_refuses_at_once_and_says_whose_quota_it_is() -> None:
    host = ScriptedHost(memory_mib=8192)
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address) as scheduler,
        host.connected(scheduler.channel),
    ):
        await until_limited(scheduler, codestore, 3)
        spec = a_spec(concurrency=2)
        grants = [await scheduler.acquire(spec) for _ in range(2)]
        assert [grant.lease.concurrency for grant in grants] == [2, 1]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await scheduler.acquire(spec, wait_s=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        raw = dict(caught.value.trailing_metadata() or ())[STATUS_DETAILS_KEY]
        assert isinstance(raw, bytes)
        quota = QuotaFailure()
        assert any(detail.Unpack(quota) for detail in Status.FromString(raw).details)
        assert [violation.subject for violation in quota.violations] == ["functions/hello"]

        await scheduler.release(grants[0].lease)
        assert (await scheduler.acquire(spec)).lease.concurrency == 2


async def test_what_waits_counts_and_is_within_the_limit_when_its_turn_comes() -> None:
    async with a_scheduler(tenant_invocations=2, tenant_invocations_of={"large": 3}) as scheduler:
        calls = [asyncio.ensure_future(scheduler.acquire(a_spec(), wait_s=60)) for _ in range(3)]
        (refused,), waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(error := refused.exception(), grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with ScriptedHost().connected(scheduler.channel):
            leases = [(await call).lease for call in waiting]
            assert (await scheduler.refusal(a_spec())).quota == "tenants/acme"
            assert len({lease.id for lease in leases}) == 2


async def test_a_lowered_maximum_takes_leases_back_the_newest_first() -> None:
    host = ScriptedHost()
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address) as scheduler,
        host.connected(scheduler.channel),
    ):
        spec = a_spec()
        first, second = await scheduler.acquire(spec), await scheduler.acquire(spec)
        await until_limited(scheduler, codestore, 1)
        revoked = second.lease.container
        await host.until(lambda: host.containers[revoked].lease_id == "")
        assert await scheduler.renew(first.lease.id, second.lease.id) == [second.lease.id]
        # It may still run an invocation, so it is neither given to anybody nor ended.
        assert (await scheduler.container_states())[revoked] == "leased"
        assert (await scheduler.refusal(spec)).reason == "FUNCTION_CONCURRENCY"


async def test_limits_outlive_the_codestores_absence_and_are_forgotten_when_it_has_none() -> None:
    host = ScriptedHost()
    async with (
        a_codestore() as codestore,
        a_scheduler(codestore_address=codestore.address) as scheduler,
        host.connected(scheduler.channel),
    ):
        await until_limited(scheduler, codestore, 1)
        spec = a_spec()
        await scheduler.acquire(spec)
        await codestore.break_watches()
        assert (await scheduler.refusal(spec)).reason == "FUNCTION_CONCURRENCY"
        codestore.forget_all()
        await codestore.break_watches()
        while True:
            try:
                await scheduler.acquire(spec)
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - until it has heard
