"""What runs the guests' instructions: KVM where it really works, else QEMU's own emulation (TCG).

A canary decides, once per boot, kernel, QEMU and ownership of `/dev/kvm`; the decision is kept on disk with its reason.
"""

import asyncio
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import structlog

from stoker_hostagent import canary

log = structlog.get_logger()

QEMU = "qemu-system-x86_64"
KVM_DEVICE = Path("/dev/kvm")
CANARY_S = 4.0
"""How long a canary has, in seconds. A guest that runs prints within 0.1 s."""
ABSENT = "absent"
_VERSION_S = 10.0
_CPUS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("host", ()),
    # Some nested hosts offer this feature, and then refuse to set the register that belongs to it.
    ("host,arch-capabilities=off", ("arch-capabilities",)),
)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs guests on this host."""

    kind: str
    """`kvm` or `qemu`, as libvirt's domain type."""
    reason: str
    """Why it is that one, for a person."""
    disabled_cpu_features: tuple[str, ...] = ()
    """Features of the host's CPU that guests must do without."""


async def choose(
    state_dir: Path,
    wanted: str = "auto",
    *,
    qemu: str = QEMU,
    kvm_device: Path = KVM_DEVICE,
    canary_s: float = CANARY_S,
) -> Accelerator:
    """What runs guests on this host, remembered in `state_dir`.

    Args:
        state_dir: Where the decision is kept.
        wanted: `kvm` or `qemu` to decide it by hand, `auto` for the canary.
        qemu: The program.
        kvm_device: KVM's device.
        canary_s: How long each canary has, in seconds.
    """
    if wanted != "auto":
        return Accelerator(wanted, "the configuration says so")
    cache = state_dir / "accelerator.json"
    fingerprint = await _fingerprint(qemu, kvm_device)
    accelerator = _remembered(cache, fingerprint)
    if accelerator is None:
        accelerator = await decide(qemu, kvm_device, canary_s)
        _remember(cache, fingerprint, accelerator)
    if accelerator.kind == "kvm":
        log.info("accelerator.chosen", kind=accelerator.kind, reason=accelerator.reason)
    else:
        log.warning(
            "accelerator.chosen", kind="qemu", reason=accelerator.reason, consequence="guests run about 10 times slower"
        )
    return accelerator


async def decide(qemu: str = QEMU, kvm_device: Path = KVM_DEVICE, canary_s: float = CANARY_S) -> Accelerator:
    """Decides by canary, asking nothing that was remembered."""
    if ownership(kvm_device) == ABSENT:
        return Accelerator("qemu", f"there is no {kvm_device}: the host has no KVM, or its module is not loaded")
    seen: list[str] = []
    for cpu, disabled in _CPUS:
        trial = await canary.try_guest(qemu, "kvm", cpu, canary_s)
        if trial.is_alive:
            return Accelerator("kvm", f"a guest ran by KVM with the CPU `{cpu}`", disabled)
        seen.append(f"with the CPU `{cpu}`, {trial.detail}")
    return Accelerator("qemu", f"no guest runs by KVM here: {'; '.join(seen)}")


async def _fingerprint(qemu: str, kvm_device: Path) -> dict[str, str]:
    """All that a decision holds for."""
    return {
        "boot_id": _boot_id(),
        "kernel": os.uname().release,
        "qemu": await qemu_version(qemu),
        "kvm": ownership(kvm_device),
    }


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def ownership(device: Path) -> str:
    """Mode, owner and group of a device, as numbers; `ABSENT` where there is none."""
    try:
        facts = device.stat()
    except OSError:
        return ABSENT
    return f"{stat.S_IMODE(facts.st_mode):04o} {facts.st_uid}:{facts.st_gid}"


async def qemu_version(qemu: str = QEMU) -> str:
    """What QEMU says its version is; empty where it cannot be run."""
    try:
        process = await asyncio.create_subprocess_exec(
            qemu, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_VERSION_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return output.decode(errors="replace").partition("\n")[0]


def processor() -> str:
    """The host's processor and kernel, which what KVM has saved depends on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = sorted({line for line in lines if line.startswith(("model name", "flags", "microcode"))})
    return "\n".join((os.uname().release, *facts))


def _remembered(cache: Path, fingerprint: dict[str, str]) -> Accelerator | None:
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
        if kept["fingerprint"] != fingerprint:
            return None
        return Accelerator(kept["kind"], kept["reason"], tuple(kept["disabled_cpu_features"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(cache: Path, fingerprint: dict[str, str], accelerator: Accelerator) -> None:
    kept = {
        "fingerprint": fingerprint,
        "kind": accelerator.kind,
        "reason": accelerator.reason,
        "disabled_cpu_features": accelerator.disabled_cpu_features,
    }
    unfinished = cache.with_suffix(".new")
    unfinished.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(cache)
