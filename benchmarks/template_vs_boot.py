"""A VM cloned from a template against the same VM booted, until its guest agent has answered and has its identity.

The bar: a clone is at least 5 times faster. Boots and clones take turns, each alone; the clone's VM also has a blank
container of every language runtime, which a booted one still has to make (not counted).
"""

import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from measuring import Bar, conclude, machine, percentile
from stoker_hostagent import cleanup
from stoker_hostagent.blanks import prepare_template
from stoker_hostagent.template_making import Preparation
from stoker_hostagent.virtual_machines import VirtualMachines
from stoker_hostagent.vm import Shape, VmSettings
from stoker_hostagent.vm_assembly import running_virtual_machines

from tests.system.images import guest_image
from tests.system.vm_host import Events

ROUNDS = 7
ENOUGH_S = 150
"""When no further round is begun: on a busy machine there are fewer."""
SHAPE = Shape(1, 512)
LIMIT = 5.0
READY_S = 150
BLANKS = Preparation("one of each runtime", lambda guest: prepare_template(guest, 1))


async def seconds_to_make(machines: VirtualMachines, number: int, *, is_clone: bool) -> float:
    """How long it takes until a VM's guest has answered and has its identity; the VM is destroyed then."""
    vm_id = f"vm-{number:012x}"
    begun_s = time.monotonic()
    vm = await machines.create(vm_id, SHAPE)
    took_s = time.monotonic() - begun_s
    if vm.is_clone is not is_clone:
        raise SystemExit(f"{vm_id} was {'booted' if is_clone else 'cloned'}; the log above says why")
    await machines.destroy(vm_id)
    return took_s


async def measure(settings: VmSettings) -> int:
    boots_s: list[float] = []
    clones_s: list[float] = []
    booting = replace(settings, host_id=f"{settings.host_id}-b", state_dir=settings.state_dir / "b", templates_mib=0)
    async with (
        running_virtual_machines(settings, BLANKS) as cloned,
        running_virtual_machines(booting) as booted,
    ):
        await booted.adopt(Events())
        await cloned.adopt(Events())
        print(f"machine: {machine(cloned.accelerator.kind)}", flush=True)
        begun_s = time.monotonic()
        async with asyncio.timeout(READY_S):
            await cloned.template_ready(SHAPE)
        (memory,) = (settings.state_dir / "templates").glob("*/memory")
        print(f"template: {memory.stat().st_size >> 20} MiB, made in {time.monotonic() - begun_s:.1f} s", flush=True)
        for number in range(ROUNDS):
            if time.monotonic() - begun_s > ENOUGH_S and number > 1:
                break
            boots_s.append(await seconds_to_make(booted, number, is_clone=False))
            clones_s.append(await seconds_to_make(cloned, number, is_clone=True))
            print(f"round {number}: booted in {boots_s[-1]:.2f} s, cloned in {clones_s[-1]:.2f} s", flush=True)
    figures = f"booted {spread(boots_s)}, cloned {spread(clones_s)} of {len(boots_s)} each"
    bar = Bar("boot/clone", median(boots_s) / median(clones_s), LIMIT, is_at_least=True)
    return conclude("template_vs_boot", figures, [bar])


def spread(samples_s: list[float]) -> str:
    """The middle and the ends of a few samples."""
    return f"p50 {median(samples_s):.2f} s ({min(samples_s):.2f} to {percentile(samples_s, 100):.2f} s)"


def main() -> int:
    """Measures, leaves nothing, and returns the exit code."""
    # QEMU's user must get to the sockets, whose paths must be short.
    state_dir = Path(tempfile.mkdtemp(prefix="stoker-bench-"))
    state_dir.chmod(0o755)
    settings = VmSettings("bench", state_dir, guest_image().parent, guest_image().name, template_shapes=(SHAPE,))
    try:
        return asyncio.run(measure(settings))
    finally:
        for host_id, directory in (("bench", state_dir), ("bench-b", state_dir / "b")):
            asyncio.run(cleanup.run(replace(settings, host_id=host_id, state_dir=directory)))
        shutil.rmtree(state_dir)


if __name__ == "__main__":
    sys.exit(main())
