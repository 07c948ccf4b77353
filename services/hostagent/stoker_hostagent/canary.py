"""A guest of 70 bytes that does a little work and prints a line: whether an accelerator really runs guests.

That a host can open `/dev/kvm` and create a VM proves nothing. On some nested hosts no guest starts, and on others KVM
emulates each instruction: such a guest prints what it is told, but runs a million instructions a second and never boots
a kernel. So the canary counts before it prints.
"""

import asyncio
import os
import pwd
from dataclasses import dataclass

LINE = b"stoker-canary\n"
STEPS = 100_000_000
"""How far it counts. Measured on 2 shared cores: 0.4 s by TCG, 100 s by a KVM that emulates."""
_QEMU_USERS = ("libvirt-qemu", "qemu")
"""Whom libvirt runs QEMU as, on Debian and on others."""
_ROM_BYTES = 64 * 1024
_ENTRY = 0xFF00
_RESET_VECTOR = 0xFFF0
_END_S = 2.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a canary."""

    is_alive: bool
    """Whether it printed its line."""
    detail: str
    """What was seen, for a person."""


def rom() -> bytes:
    """A firmware image of 64 KiB that counts to `STEPS`, writes `LINE` to the first serial port and halts.

    The processor begins at the reset vector, 16 bytes before the end, which jumps to the code further down.
    """
    code = b"\x66\xb9" + STEPS.to_bytes(4, "little")  # mov ecx, STEPS
    code += b"\x66\x49\x75\xfc"  # dec ecx; jnz to dec
    code += b"\xba\xf8\x03"  # mov dx, 0x3f8
    for byte in LINE:
        code += bytes((0xB0, byte, 0xEE))  # mov al, byte; out dx, al
    code += b"\xf4\xeb\xfd"  # hlt; jmp to hlt
    image = bytearray(b"\xf4" * _ROM_BYTES)
    image[_ENTRY : _ENTRY + len(code)] = code
    distance = _ENTRY - (_RESET_VECTOR + 3)
    image[_RESET_VECTOR : _RESET_VECTOR + 3] = b"\xe9" + distance.to_bytes(2, "little", signed=True)
    return bytes(image)


async def try_guest(qemu: str, accelerator: str, cpu: str, time_limit_s: float) -> Trial:
    """Runs a canary by `qemu`, as the user that libvirt runs QEMU as where there is one.

    Args:
        qemu: The program.
        accelerator: `kvm` or `tcg`.
        cpu: What QEMU calls the CPU's model, with features.
        time_limit_s: How long it has for its line, in seconds.
    """
    memory_file = os.memfd_create("stoker-canary")
    try:
        os.write(memory_file, rom())
        return await _run(
            [
                qemu,
                "-accel",
                accelerator,
                "-cpu",
                cpu,
                "-machine",
                "pc",
                "-m",
                "16",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-bios",
                f"/proc/self/fd/{memory_file}",
                "-serial",
                "stdio",
            ],
            memory_file,
            time_limit_s,
        )  # fmt: skip - options and their values
    finally:
        os.close(memory_file)


async def _run(command: list[str], memory_file: int, time_limit_s: float) -> Trial:
    try:
        process = await asyncio.create_subprocess_exec(
            *_confined(),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(memory_file,),
        )
    except OSError as error:
        return Trial(False, f"{command[0]} cannot be run: {error}")
    if process.stdout is None:
        raise AssertionError("a process made with a pipe has one")
    try:
        async with asyncio.timeout(time_limit_s):
            line = await process.stdout.readline()
        if line == LINE:
            return Trial(True, "a guest ran")
        # It printed nothing because it has ended; what it complained about says why.
        async with asyncio.timeout(_END_S):
            _, complaint = await process.communicate()
        return Trial(False, f"QEMU ended: {_last_line(complaint)}")
    except TimeoutError:
        return Trial(False, f"a guest did not get through {STEPS} steps in {time_limit_s:g} s")
    finally:
        await _kill(process)


def _confined() -> list[str]:
    """What is put before QEMU's command: its user runs it, and it ends with the host agent, however that ends.

    Not every event loop starts processes as others.
    """
    user = qemu_user() if os.geteuid() == 0 else None
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"] if user else []
    return ["setpriv", "--pdeathsig=KILL", *identity, "--"]


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    try:
        async with asyncio.timeout(_END_S):
            await process.communicate()
    except TimeoutError:
        # It hangs in the kernel, where nobody can end it; it is tiny, and holds up nothing else.
        return


def qemu_user() -> pwd.struct_passwd | None:
    """The user that libvirt runs QEMU as; None where there is no such user."""
    for name in _QEMU_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None
