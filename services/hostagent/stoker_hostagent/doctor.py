"""Checks whether this host can run VMs, each with its fix."""

import asyncio
import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoker_service.errors import StokerError

from stoker_hostagent import accelerator, canary
from stoker_hostagent.guest_image import find_image
from stoker_hostagent.libvirt_connection import connected
from stoker_hostagent.state_dir import Places
from stoker_hostagent.vm import VmSettings

MIN_DISK_MIB = 2048
"""A guest image and its making take 1 GiB; the rest is for code."""
MIN_MEMORY_MIB = 1024
"""One VM of 512 MiB, and Stoker itself."""
VIRTLOGD_SOCKET = Path("/run/libvirt/virtlogd-sock")
VIRTIOFSD_PATHS = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
_CAP_SYS_ADMIN = 21
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    fix: str = ""
    """What to do; empty where nothing has to be done."""


async def run(settings: VmSettings) -> Sequence[Check]:
    """Looks at all there is to look at; takes half a minute at the most."""
    return [
        _rights(),
        await _qemu(),
        _kvm_device(accelerator.KVM_DEVICE),
        await _accelerator(settings.accelerator),
        await _libvirt(settings.libvirt_uri),
        await _virtlogd(),
        _virtiofsd(),
        _image(settings),
        _disk(settings.state_dir),
        _templates(settings),
        _memory(),
    ]


def may_open(device: os.stat_result, user: pwd.struct_passwd, groups: Sequence[int]) -> bool:
    """Whether a user in these groups may read and write a device."""
    if device.st_uid == user.pw_uid:
        return device.st_mode & 0o600 == 0o600
    if device.st_gid in groups:
        return device.st_mode & 0o060 == 0o060
    return device.st_mode & 0o006 == 0o006


def _rights() -> Check:
    capabilities = next(line.split()[1] for line in _lines(Path("/proc/self/status")) if line.startswith("CapEff:"))
    may_mount = bool(int(capabilities, 16) >> _CAP_SYS_ADMIN & 1)
    if may_mount:
        return Check("rights", True, "may mount shares")
    return Check("rights", False, "may not mount shares", "run the host agent (and this command) as root, by sudo")


async def _qemu() -> Check:
    if version := await accelerator.qemu_version():
        return Check("qemu", True, version)
    return Check("qemu", False, f"{accelerator.QEMU} cannot be run", "apt-get install qemu-system-x86")


def _kvm_device(device: Path) -> Check:
    try:
        facts = device.stat()
    except OSError:
        return Check("kvm_device", True, f"there is no {device}; VMs work without it, about 10 times slower")
    user = canary.qemu_user()
    owned = f"{device} has mode {stat.S_IMODE(facts.st_mode):04o}, owner {facts.st_uid}, group {facts.st_gid}"
    if user is None:
        return Check("kvm_device", False, "there is no user `libvirt-qemu`", "apt-get install libvirt-daemon-system")
    if may_open(facts, user, os.getgrouplist(user.pw_name, user.pw_gid)):
        return Check("kvm_device", True, owned)
    return Check(
        "kvm_device",
        False,
        f"{owned}: `{user.pw_name}` may not open it, and libvirt then takes a minute for each VM",
        f"chgrp kvm {device} && chmod 660 {device}",
    )


async def _accelerator(wanted: str) -> Check:
    if wanted != "auto":
        return Check("accelerator", True, f"{wanted}: the configuration says so")
    chosen = await accelerator.decide()
    if chosen.kind == "kvm":
        return Check("accelerator", True, f"kvm: {chosen.reason}")
    return Check("accelerator", True, f"warning: VMs run emulated, about 10 times slower than by KVM: {chosen.reason}")


async def _libvirt(uri: str) -> Check:
    try:
        async with connected(uri):
            return Check("libvirt", True, f"{uri} answers")
    except StokerError as error:
        if shutil.which("libvirtd") is None:
            return Check("libvirt", False, "it is not installed", "apt-get install libvirt-daemon-system")
        return Check("libvirt", False, error.message, _start("libvirtd", "virtlogd -d; libvirtd -d"))


async def _virtlogd() -> Check:
    try:
        async with asyncio.timeout(_ANSWER_S):
            _, writer = await asyncio.open_unix_connection(VIRTLOGD_SOCKET)
    except (OSError, TimeoutError) as error:
        why = f"{VIRTLOGD_SOCKET} does not answer: {error}"
        return Check("virtlogd", False, why, _start("virtlogd.socket", "virtlogd -d"))
    writer.transport.abort()
    return Check("virtlogd", True, f"{VIRTLOGD_SOCKET} answers")


def _start(unit: str, command: str) -> str:
    return f"systemctl start {unit}" if Path("/run/systemd/system").is_dir() else command


def _virtiofsd() -> Check:
    for path in VIRTIOFSD_PATHS:
        if os.access(path, os.X_OK):
            return Check("virtiofsd", True, path)
    return Check(
        "virtiofsd",
        False,
        f"it is at none of {', '.join(VIRTIOFSD_PATHS)}",
        "apt-get install virtiofsd (Debian 12 and Ubuntu 22.04: qemu-system-common)",
    )


def _image(settings: VmSettings) -> Check:
    try:
        image = find_image(settings.images_dir, settings.image)
    except StokerError as error:
        fix = f"python -m stoker_guest_image build --images-dir {settings.images_dir}"
        return Check("guest_image", False, error.message, fix)
    return Check("guest_image", True, f"{image.id} with {', '.join(image.runtimes)}")


def _disk(state_dir: Path) -> Check:
    there = next(path for path in (state_dir, *state_dir.parents) if path.is_dir())
    free_mib = shutil.disk_usage(there).free // 1024**2
    fix = "" if free_mib >= MIN_DISK_MIB else "free some space, or move STOKER_HOSTAGENT_STATE_DIR to a larger disk"
    return Check("disk", not fix, f"{free_mib} MiB are free at {there}; {MIN_DISK_MIB} are needed", fix)


def _templates(settings: VmSettings) -> Check:
    if not settings.templates_mib:
        return Check("templates", True, "the configuration wants none: each VM is booted")
    sizes = [memory.stat().st_size for memory in Places(settings.state_dir).templates.glob("*/memory")]
    taken_mib = sum(sizes) // 1024**2
    there = next(path for path in (settings.state_dir, *settings.state_dir.parents) if path.is_dir())
    room_mib = taken_mib + shutil.disk_usage(there).free // 1024**2
    told = f"{len(sizes)} take {taken_mib} MiB; they may take {settings.templates_mib} MiB"
    if room_mib >= settings.templates_mib:
        return Check("templates", True, told)
    fix = "free some space, or let them take less: STOKER_HOSTAGENT_TEMPLATES_MIB"
    return Check("templates", False, f"{told}, and there is room for {room_mib} MiB", fix)


def _memory() -> Check:
    available = next(line for line in _lines(Path("/proc/meminfo")) if line.startswith("MemAvailable:"))
    free_mib = int(available.split()[1]) // 1024
    fix = "" if free_mib >= MIN_MEMORY_MIB else "end other programs, or take a larger machine"
    return Check("memory", not fix, f"{free_mib} MiB are available; {MIN_MEMORY_MIB} are needed", fix)


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()
