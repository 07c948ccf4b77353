"""Directories of the host that guests see, read-only, by virtiofs.

libvirt 9.0 cannot make a virtiofs share read-only, so what a guest sees is a read-only bind mount of the directory: not
even a guest that has taken over its kernel can write to the host's code.
"""

import asyncio
import re
from pathlib import Path

from stoker_hostagent import vm_errors

CODE = "code"
"""The share of a tenant's code: its virtiofs tag, and its name in the guest."""
MOUNT_S = 10.0
_OCTAL = re.compile(r"\\([0-7]{3})")


class Shares:
    """The bind mounts of this host's VMs, each at `<directory>/<vm>`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def mount(self, vm_id: str, source: Path) -> Path:
        """Makes a directory visible, read-only, and returns where.

        Raises:
            StokerError: SHARE_FAILED.
        """
        target = self._directory / vm_id
        target.mkdir(parents=True, exist_ok=True)
        if not is_mounted(target):
            await _command("mount", "--options", "bind,ro,nosuid,nodev", str(source), str(target))
        return target

    async def unmount(self, vm_id: str) -> int:
        """Removes a VM's mount, if it has one; returns how many there were.

        Raises:
            StokerError: SHARE_FAILED.
        """
        target = self._directory / vm_id
        count = 0
        while is_mounted(target):
            # Lazily, as a virtiofsd about to end may still look into it.
            await _command("umount", "--lazy", str(target))
            count += 1
        if target.is_dir():
            target.rmdir()
        return count

    def all(self) -> list[str]:
        """The VMs that have a mount, or the place of one."""
        return sorted(entry.name for entry in self._directory.iterdir()) if self._directory.is_dir() else []


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at `path`, also where what is mounted there is broken."""
    wanted = str(path.resolve())
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        return any(_unescaped(line.split(" ", 5)[4]) == wanted for line in mounts)


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


async def _command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(MOUNT_S):
            _, complaint = await process.communicate()
    except TimeoutError as error:
        raise vm_errors.share_failed(f"{words[0]} did not end within {MOUNT_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    if process.returncode != 0:
        raise vm_errors.share_failed(complaint.decode(errors="replace").strip())
