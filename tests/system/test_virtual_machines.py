"""Virtual machines by a real libvirt with real guests: made, given to a tenant, lost, taken over, removed."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stoker_hostagent import cleanup, shares
from stoker_hostagent.domain_xml import domain_name
from stoker_hostagent.footprints import Removed
from stoker_hostagent.guest_image import find_image
from stoker_hostagent.guest_messages import Code, FunctionIdentity, Invocation
from stoker_hostagent.libvirt_connection import DomainEvent, connected
from stoker_hostagent.libvirt_domains import LibvirtDomains
from stoker_hostagent.virtual_machines import VirtualMachines
from stoker_hostagent.vm import GoneReason, Shape, VmSettings, VmState
from stoker_service.errors import StokerError

from tests.system.vm_host import Events, machines_of, own_host

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount shares"),
    # `stoker up` sees to it that libvirt runs.
    pytest.mark.usefixtures("system"),
]

SHAPE = Shape(1, 512)
VM = "vm-0123456789ab"
OTHER_VM = "vm-ba9876543210"
CONTAINER = "c-0123456789ab"
SHA256 = "ab" * 32
HANDLER = """
import errno

def handler(event, context):
    try:
        open("/var/task/mine", "w")
    except OSError as error:
        refusal = errno.errorcode[error.errno]
    return {"echo": event, "refusal": refusal}
"""


@pytest.fixture
def settings() -> Iterator[VmSettings]:
    """A host of the test's own, of which nothing is left."""
    with own_host() as made:
        yield made


def traces_of(settings: VmSettings, vm_id: str = VM) -> list[str]:
    """Everything on this host that has to do with a VM: processes, mounts, files."""
    processes = [
        command.replace("\0", " ")[:80]
        for process in Path("/proc").glob("[0-9]*")
        if vm_id in (command := _command_of(process)) and settings.host_id in command
    ]
    mounts = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if str(settings.state_dir / "shares" / vm_id) in line
    ]
    files = [str(path) for path in settings.state_dir.rglob(f"*{vm_id}*")]
    return [*processes, *mounts, *files]


def _command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def qemu_of(settings: VmSettings) -> int:
    return int(Path(f"/run/libvirt/qemu/{domain_name(settings.host_id, VM)}.pid").read_text())


def suspend(settings: VmSettings) -> None:
    command = ["virsh", "-c", settings.libvirt_uri, "suspend", domain_name(settings.host_id, VM)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)


def put_code(settings: VmSettings, tenant: str) -> None:
    code = settings.state_dir / "code" / tenant / SHA256
    code.mkdir(parents=True)
    (code / "main.py").write_text(HANDLER)


async def load_function(machines: VirtualMachines) -> None:
    guest = machines.guest(VM)
    await guest.create_container(CONTAINER, "python3", 128, 16)
    identity = FunctionIdentity("acme", "hello", 1, 128)
    code = Code(shares.CODE, SHA256, "main.handler", {}, 20_000, identity, b"version 1")
    assert (await guest.load_code(CONTAINER, code)).failure is None


async def invoke_function(machines: VirtualMachines) -> dict[str, object]:
    invocation = Invocation(CONTAINER, "i-1", b'"ping"', "application/json", 20_000, "", 1024)
    result = await machines.guest(VM).invoke(invocation)
    assert result.failure is None
    return json.loads(result.payload)


async def test_a_vm_is_one_tenants_for_good_and_sees_code_that_comes_later_but_cannot_write(
    settings: VmSettings,
) -> None:
    events = Events()
    async with machines_of(settings, events) as machines:
        begun_s = time.monotonic()
        created = await machines.create(VM, SHAPE)
        booted_s = time.monotonic()
        assert (created.state, created.tenant) == (VmState.WARMING, "")
        assert 0 < created.container_memory_mib < SHAPE.memory_mib
        assert await machines.create(VM, SHAPE) == created
        with pytest.raises(StokerError) as refused:
            await machines.create(VM, Shape(2, 512))
        assert refused.value.reason == "VM_EXISTS"

        assigned = await machines.assign(VM, "acme")
        print(f"create {booted_s - begun_s:.2f} s, assign {time.monotonic() - booted_s:.2f} s")
        assert (assigned.state, assigned.tenant) == (VmState.ACTIVE, "acme")
        assert await machines.assign(VM, "acme") == assigned
        with pytest.raises(StokerError) as refused:
            await machines.assign(VM, "rival")
        assert refused.value.reason == "VM_TAKEN"
        assert machines.all() == [assigned]

        put_code(settings, "acme")
        await load_function(machines)
        assert await invoke_function(machines) == {"echo": "ping", "refusal": "EROFS"}

        await machines.destroy(VM)
        await machines.destroy(VM)
        assert events.gone.get_nowait() == (VM, GoneReason.DESTROYED)
        assert events.gone.empty()
        with pytest.raises(StokerError) as refused:
            await machines.assign(VM, "acme")
        assert refused.value.reason == "VM_NOT_FOUND"
    assert events.states == [
        (VM, VmState.CREATING, ""),
        (VM, VmState.WARMING, ""),
        (VM, VmState.ASSIGNING, "acme"),
        (VM, VmState.ACTIVE, "acme"),
        (VM, VmState.ENDING, "acme"),
    ]
    assert traces_of(settings) == []
    assert (settings.state_dir / "code" / "acme" / SHA256 / "main.py").read_text() == HANDLER


async def test_a_vm_that_dies_is_noticed_at_once_and_nothing_of_it_stays(settings: VmSettings) -> None:
    events = Events()
    async with machines_of(settings, events) as machines:
        await machines.create(VM, SHAPE)
        await machines.assign(VM, "acme")
        call = asyncio.create_task(machines.guest(VM).create_container(CONTAINER, "python3", 128, 16))
        await asyncio.sleep(0)
        os.kill(qemu_of(settings), signal.SIGKILL)
        async with asyncio.timeout(15):
            assert await events.gone.get() == (VM, GoneReason.CRASHED)
            with pytest.raises(StokerError) as failed:
                await call
        assert failed.value.reason == "GUEST_UNREACHABLE"
        assert machines.all() == []
    assert traces_of(settings) == []


async def test_a_guest_that_falls_silent_loses_its_vm(settings: VmSettings) -> None:
    events = Events()
    async with machines_of(replace(settings, unreachable_s=6), events) as machines:
        await machines.create(VM, SHAPE)
        suspend(settings)
        async with asyncio.timeout(40):
            assert await events.gone.get() == (VM, GoneReason.UNREACHABLE)
    assert traces_of(settings) == []


async def test_a_later_host_agent_takes_over_what_is_whole_and_removes_the_rest(settings: VmSettings) -> None:
    async with machines_of(settings) as machines:
        await machines.create(VM, SHAPE)
        await machines.assign(VM, "acme")
        put_code(settings, "acme")
        await load_function(machines)
        (before,) = machines.all()

    # Another host's agent lets it be, on the same hypervisor.
    stranger = replace(settings, host_id=f"{settings.host_id}-2", state_dir=settings.state_dir / "2")
    async with machines_of(stranger) as machines:
        assert machines.all() == []

    (settings.state_dir / "channels" / f"{OTHER_VM}.sock").touch()
    (settings.state_dir / "consoles" / f"{OTHER_VM}.log.1").touch()
    begun_s = time.monotonic()
    async with machines_of(settings) as machines:
        print(f"adopted in {time.monotonic() - begun_s:.2f} s")
        assert machines.all() == [before]
        (container,) = await machines.guest(VM).list_containers()
        assert (container.id, container.is_loaded, container.label) == (CONTAINER, True, b"version 1")
        assert (await invoke_function(machines))["echo"] == "ping"
        with pytest.raises(StokerError) as refused:
            await machines.assign(VM, "rival")
        assert refused.value.reason == "VM_TAKEN"
        await machines.destroy(OTHER_VM)
        assert traces_of(settings, OTHER_VM) == []

    # An agent that ended in the middle of a step leaves a VM of which nobody knows how far it is.
    async with connected(settings.libvirt_uri) as connection:
        domains = LibvirtDomains(connection)
        name = domain_name(settings.host_id, VM)
        (record,) = [domain.record for domain in await domains.list() if domain.name == name]
        assert record is not None
        await domains.set_record(name, replace(record, state=VmState.ASSIGNING))
    async with machines_of(settings) as machines:
        assert machines.all() == []
    assert traces_of(settings) == []


async def test_a_vm_that_does_not_boot_shows_why_and_leaves_nothing(settings: VmSettings) -> None:
    image = find_image(settings.images_dir, settings.image)
    broken = settings.state_dir / "images" / "broken"
    broken.mkdir(parents=True)
    for file in (image.kernel, image.initrd, image.root):
        (broken / file.name).symlink_to(file)
    (broken / "image.json").write_text(
        json.dumps({"id": "broken", "kernel_cmdline": "console=ttyS0 panic=-1 rdinit=/none init=/none", "runtimes": []})
    )
    events = Events()
    async with machines_of(replace(settings, images_dir=broken.parent, image="broken"), events) as machines:
        with pytest.raises(StokerError, match="Kernel panic") as failed:
            await machines.create(VM, SHAPE)
        assert failed.value.reason == "VM_CREATE_FAILED"
        assert machines.all() == []
        assert events.gone.get_nowait() == (VM, GoneReason.CRASHED)
    assert traces_of(settings) == []


async def test_a_vm_whose_making_is_given_up_or_revoked_leaves_nothing(settings: VmSettings) -> None:
    events = Events()
    async with connected(settings.libvirt_uri) as connection, machines_of(settings, events) as machines:
        domain_events: asyncio.Queue[DomainEvent] = asyncio.Queue()
        connection.on_event = domain_events.put_nowait
        awaited = {domain_name(settings.host_id, each) for each in (VM, OTHER_VM)}
        given_up = asyncio.create_task(machines.create(VM, SHAPE))
        revoked = asyncio.create_task(machines.create(OTHER_VM, SHAPE))
        async with asyncio.timeout(60):
            while awaited:
                awaited.discard((await domain_events.get()).name)
        given_up.cancel()
        await machines.destroy(OTHER_VM)
        with pytest.raises(StokerError) as failed:
            await revoked
        assert failed.value.reason == "VM_ENDING"
        with pytest.raises(asyncio.CancelledError):
            await given_up
        async with asyncio.timeout(30):
            gone = {await events.gone.get(), await events.gone.get()}
        assert gone == {(VM, GoneReason.CRASHED), (OTHER_VM, GoneReason.DESTROYED)}
        assert machines.all() == []
    assert traces_of(settings) == []
    assert traces_of(settings, OTHER_VM) == []


async def test_cleanup_removes_everything_of_this_host(settings: VmSettings) -> None:
    async with machines_of(settings) as machines:
        await machines.create(VM, SHAPE)
        await machines.assign(VM, "acme")
        with pytest.raises(StokerError) as refused:
            await cleanup.run(settings)
        assert refused.value.reason == "HOST_AGENT_RUNNING"
    removed = await cleanup.run(settings)
    assert (removed.domains, removed.mounts) == (1, 1)
    assert traces_of(settings) == []
    assert await cleanup.run(settings) == Removed()
