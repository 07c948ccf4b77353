"""Clones of a template by a real libvirt: each is itself, and a broken template costs no more than a boot."""

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stoker_hostagent import shares
from stoker_hostagent.blanks import prepare_template
from stoker_hostagent.guest import CLOCK_ERROR_S
from stoker_hostagent.guest_messages import Code, FunctionIdentity, Invocation
from stoker_hostagent.migration_stream import GUEST_MEMORY, PAGE, PAGE_BYTES, SAME_BLOCK
from stoker_hostagent.save_image import read_header
from stoker_hostagent.template_making import Preparation
from stoker_hostagent.virtual_machines import VirtualMachines
from stoker_hostagent.vm import Shape, VmSettings, VmState

from tests.system.vm_host import Events, machines_of, own_host

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount shares"),
    # `stoker up` sees to it that libvirt runs.
    pytest.mark.usefixtures("system"),
]

SHAPE = Shape(1, 512)
VM, OTHER_VM = "vm-0123456789ab", "vm-ba9876543210"
BLANKS = Preparation("one of each runtime", lambda guest: prepare_template(guest, 1))
READY_S = 240

PYTHON = """
import os, random, ssl, time, uuid

def draw():
    return {
        "os.urandom": os.urandom(8).hex(),
        "random.random": random.random(),
        "uuid.uuid4": str(uuid.uuid4()),
        "ssl.RAND_bytes": ssl.RAND_bytes(8).hex(),
    }

AT_IMPORT = draw()

def handler(event, context):
    machine_id = open("/etc/machine-id").read().strip()
    return {"time": time.time(), "machine_id": machine_id, "drawn": {"at import": AT_IMPORT, "later": draw()}}
"""
NODEJS = """
const crypto = require('node:crypto');
const { promisify } = require('node:util');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const draw = () => ({
  'crypto.randomBytes': hex(crypto.randomBytes(8)),
  'crypto.randomUUID': crypto.randomUUID(),
  'crypto.randomInt': crypto.randomInt(2 ** 47),
  'crypto.webcrypto': hex(crypto.webcrypto.getRandomValues(new Uint8Array(8))),
  'Math.random': Math.random(),
});
const atImport = draw();

exports.handler = async () => ({
  time: Date.now() / 1000,
  drawn: {
    'at import': atImport,
    later: draw(),
    'in other threads': await Promise.all([1, 2, 3, 4, 5].map(async () => hex(await promisify(crypto.randomBytes)(8)))),
  },
});
"""


@pytest.fixture(scope="module")
def host() -> Iterator[VmSettings]:
    """A host whose template is made by the first test that wants it."""
    with own_host() as made:
        (made.state_dir / "code").mkdir()
        for runtime, file, source in (("python3", "main.py", PYTHON), ("nodejs", "main.js", NODEJS)):
            code = made.state_dir / "code" / "acme" / runtime
            code.mkdir(parents=True)
            (code / file).write_text(source)
        yield replace(made, templates_mib=1024, template_shapes=(SHAPE,), clone_timeout_s=15)


async def template_made(machines: VirtualMachines) -> None:
    """Waits for the template of the shape."""
    async with asyncio.timeout(READY_S):
        await machines.template_ready(SHAPE)


async def run(machines: VirtualMachines, vm_id: str, runtime: str) -> dict[str, Any]:
    """Loads the function into the blank container of a runtime, and invokes it."""
    guest = machines.guest(vm_id)
    (blank,) = [each.id for each in await guest.list_containers() if each.runtime == runtime]
    identity = FunctionIdentity("acme", "draw", 1, 128)
    container = f"c-{os.urandom(6).hex()}"
    code = Code(shares.CODE, runtime, "main.handler", {}, 20_000, identity, b"", container)
    assert (await guest.load_code(blank, code)).failure is None
    before = time.time()
    result = await guest.invoke(Invocation(container, "i-1", b"{}", "application/json", 20_000, "", 65536))
    after = time.time()
    assert result.failure is None
    told = json.loads(result.payload)
    assert before - CLOCK_ERROR_S <= told["time"] <= after + CLOCK_ERROR_S
    return told


def values(drawn: Mapping[str, Any]) -> set[str]:
    """All that was drawn, whatever it is."""
    return set(re.findall(r"[0-9a-f.-]{8,}", json.dumps(drawn)))


async def test_two_clones_side_by_side_are_each_itself(host: VmSettings) -> None:
    events = Events()
    async with machines_of(host, events, BLANKS) as machines:
        await template_made(machines)
        clones = await asyncio.gather(machines.create(VM, SHAPE), machines.create(OTHER_VM, SHAPE))
        assert [(clone.is_clone, clone.state, clone.tenant) for clone in clones] == [(True, VmState.WARMING, "")] * 2
        assert clones[0].container_memory_mib == clones[1].container_memory_mib > 0
        await machines.assign(VM, "acme")
        await machines.assign(OTHER_VM, "acme")

        for runtime, sources in (("python3", 2 * 4), ("nodejs", 2 * 5 + 5)):
            one, other = await asyncio.gather(run(machines, VM, runtime), run(machines, OTHER_VM, runtime))
            drawn = values(one["drawn"])
            assert len(drawn) >= sources
            assert drawn.isdisjoint(values(other["drawn"]))
            if runtime == "python3":
                assert one["machine_id"] != other["machine_id"]
                assert re.fullmatch("[0-9a-f]{32}", one["machine_id"])
        before = machines.all()

    # A later host agent takes clones over as it does others.
    async with machines_of(host, preparation=BLANKS) as machines:
        assert {vm.id: vm for vm in machines.all()} == {vm.id: vm for vm in before}
        for vm in before:
            await machines.destroy(vm.id)
    assert events.gone.empty()
    (template,) = (host.state_dir / "templates").iterdir()
    shutil.copytree(template, host.state_dir / "kept" / template.name)


async def test_a_template_that_libvirt_cannot_restore_is_deleted_and_the_vm_booted(host: VmSettings) -> None:
    memory = put_template(host)

    def lose_the_end() -> None:
        facts = memory.stat()
        os.truncate(memory, facts.st_size // 2)
        os.truncate(memory, facts.st_size)
        os.utime(memory, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    await assert_booted_in_spite_of(host, memory, lose_the_end)


async def test_a_template_whose_guest_does_not_answer_is_deleted_and_the_vm_booted(host: VmSettings) -> None:
    memory = put_template(host)

    def wipe_the_guests_memory() -> None:
        facts = memory.stat()
        with memory.open("r+b") as file:
            begin = read_header(file).stream_offset
            stream = file.read()
            at = begin + stream.index(GUEST_MEMORY, stream.index(GUEST_MEMORY) + 1) + len(GUEST_MEMORY) + PAGE_BYTES
            while stream[at - begin : at - begin + 8] and stream[at - begin + 7] == PAGE | SAME_BLOCK:
                file.seek(at + 8)
                file.write(bytes(PAGE_BYTES))
                at += 8 + PAGE_BYTES
        os.utime(memory, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    await assert_booted_in_spite_of(host, memory, wipe_the_guests_memory)


def put_template(host: VmSettings) -> Path:
    """Puts the template of the first test back, and returns the file of its memory."""
    (kept,) = (host.state_dir / "kept").iterdir()
    template = host.state_dir / "templates" / kept.name
    shutil.rmtree(template, ignore_errors=True)
    shutil.copytree(kept, template)
    return template / "memory"


async def assert_booted_in_spite_of(host: VmSettings, memory: Path, harm: Callable[[], None]) -> None:
    """Harms the template, in a way that its size and time do not tell, and has a VM made."""
    async with machines_of(host, preparation=BLANKS) as machines:
        await template_made(machines)
        harm()
        vm = await machines.create(VM, SHAPE)
        assert (vm.is_clone, vm.state) == (False, VmState.WARMING)
        assert not os.path.lexists(memory)  # noqa: ASYNC240 - a test may block
        assert len((await machines.guest(VM).wait_answer()).runtimes) > 1
        await machines.destroy(VM)
        left = [path for place in ("channels", "consoles") for path in (host.state_dir / place).glob(f"{VM}*")]
        assert left == []
