"""Where versions that nobody has called yet would come, and having some of their containers loaded."""

from itertools import count
from typing import Any

from stoker_protos.scheduler.v1 import preparations_pb2, preparations_pb2_grpc
from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import ContainerState, VmState
from stoker_scheduler.preparing import likely_hosts
from stoker_scheduler.prewarming import PATIENCE_S, Prewarming
from stoker_scheduler.waiting import Waiting

from tests.scheduler.scheduler_client import a_scheduler
from tests.scheduler.scripted_host import ScriptedHost
from tests.scheduler.values import a_fleet, a_spec, a_version, put_container, put_vm


def prewarming(fleet: Fleet) -> Prewarming:
    ids = count(1)
    return Prewarming(Dispatcher(fleet, Waiting(100, 100), lambda prefix: f"{prefix}{next(ids):04}"))


def test_hosts_with_vms_of_the_tenant_come_first_those_with_most_before() -> None:
    fleet = a_fleet(4096, 4096, 4096)
    put_vm(fleet, "vm-1", "h3", tenant="acme")
    put_vm(fleet, "vm-2", "h2", tenant="acme")
    put_vm(fleet, "vm-3", "h2", tenant="acme")
    put_vm(fleet, "vm-4", "h1", tenant="umbrella")
    assert likely_hosts(fleet, "acme", 128, 0) == ["h2", "h3"]
    assert likely_hosts(fleet, "acme", 128, 5) == ["h2", "h3", "h1"]


def test_then_come_hosts_where_a_vm_waits_then_those_with_most_room() -> None:
    fleet = a_fleet(2048, 8192, 4096, 1024)
    put_vm(fleet, "vm-1", "h4")
    assert likely_hosts(fleet, "acme", 128, 3) == ["h4", "h2", "h3"]


def test_a_vm_that_ends_is_no_reason() -> None:
    fleet = a_fleet(2048)
    put_vm(fleet, "vm-1", tenant="acme", state=VmState.ENDING)
    assert likely_hosts(fleet, "acme", 128, 0) == []


def test_as_many_are_begun_as_are_wished_for_each_once() -> None:
    fleet = a_fleet(4096)
    put_vm(fleet, "vm-1", tenant="acme")
    put_container(fleet, "c-0", "vm-1", a_version(), ContainerState.LEASED)
    wishes = prewarming(fleet)
    wishes.wish(a_version(), 3, 0.0)
    begun = wishes.plan(0.0)
    assert len(begun) == 2, "one is there already"
    assert not any(container.is_provisioned for container in begun)
    for container in begun:
        fleet.remove_container(container.id, 1.0)
    assert wishes.plan(1.0) == []


def test_nothing_ends_for_it() -> None:
    fleet = a_fleet(512)
    put_vm(fleet, "vm-1", tenant="umbrella")
    put_container(fleet, "c-1", "vm-1", a_version("other", "umbrella"), ContainerState.IDLE)
    wishes = prewarming(fleet)
    wishes.wish(a_version(), 1, 0.0)
    assert wishes.plan(0.0) == []
    assert fleet.container("c-1").state is ContainerState.IDLE

    fleet.remove_vm("vm-1", 1.0)
    assert len(wishes.plan(2.0)) == 1, "there is room now"


def test_what_finds_no_room_for_long_is_forgotten() -> None:
    fleet = a_fleet(512)
    put_vm(fleet, "vm-1", tenant="umbrella")
    wishes = prewarming(fleet)
    wishes.wish(a_version(), 1, 0.0)
    assert wishes.plan(PATIENCE_S) == []
    fleet.remove_vm("vm-1", PATIENCE_S)
    assert wishes.plan(PATIENCE_S + 1) == []


async def test_a_prewarmed_version_is_loaded_before_anybody_asks() -> None:
    host = ScriptedHost()
    async with a_scheduler() as scheduler, host.connected(scheduler.channel):
        preparations: Any = preparations_pb2_grpc.PreparationServiceStub(scheduler.channel)
        spec = a_spec(memory_mib=64)
        await preparations.Prewarm(preparations_pb2.PrewarmRequest(spec=spec, containers=2), timeout=5)
        await scheduler.until(lambda fleet: [each.state for each in fleet.containers] == ["idle"] * 2)
        assert all(container.lease_id == "" for container in host.containers.values())
        assert (await scheduler.acquire(spec)).init_ms == 0
        request = preparations_pb2.ChooseHostsRequest(tenant="acme", memory_mib=128, spare_hosts=1)
        assert list((await preparations.ChooseHosts(request, timeout=5)).hosts) == ["h1"]
