"""The directory in which the host agent keeps what belongs to VMs; one process at a time manages it."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stoker_hostagent import vm_errors
from stoker_hostagent.domain_xml import Devices

MAX_SOCKET_PATH_BYTES = 107
"""The longest path of a UNIX socket on Linux."""
_SOME_VM = "vm-0123456789ab"


@dataclass(frozen=True, slots=True)
class Places:
    """Where in a state directory the things of VMs are. Paths of one VM are as long as those of another."""

    state_dir: Path

    @property
    def channels(self) -> Path:
        """The sockets of guests' ports."""
        return self.state_dir / "channels"

    @property
    def consoles(self) -> Path:
        """What guests print while they boot."""
        return self.state_dir / "consoles"

    @property
    def shares(self) -> Path:
        """The mounts that guests see."""
        return self.state_dir / "shares"

    @property
    def templates(self) -> Path:
        """The saved memory of template VMs."""
        return self.state_dir / "templates"

    def devices(self, vm_id: str) -> Devices:
        """Where one VM's devices end."""
        return Devices(self.channels / f"{vm_id}.sock", self.consoles / f"{vm_id}.log")

    def code(self, tenant: str) -> Path:
        """A tenant's unpacked code."""
        return self.state_dir / "code" / tenant


@contextmanager
def managed(state_dir: Path) -> Generator[Places]:
    """Makes the directories, and keeps other host agents away from them while the context is entered.

    Raises:
        StokerError: STATE_DIR_INVALID, HOST_AGENT_RUNNING.
    """
    places = Places(state_dir)
    socket = places.devices(_SOME_VM).channel
    if not state_dir.is_absolute() or len(os.fsencode(socket)) > MAX_SOCKET_PATH_BYTES:
        raise vm_errors.state_dir_invalid(
            f"`{state_dir}` has to be an absolute path of at most "
            f"{MAX_SOCKET_PATH_BYTES - len(os.fsencode(socket.relative_to(state_dir))) - 1} bytes"
        )
    try:
        _make(places)
        lock = os.open(state_dir / "virtual_machines.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise vm_errors.state_dir_invalid(str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise vm_errors.host_agent_running(state_dir) from error
    try:
        yield places
    finally:
        os.close(lock)


def _make(places: Places) -> None:
    """QEMU's user must get through the directories; nobody but root has to list them."""
    for directory in (places.state_dir, places.channels, places.consoles, places.shares):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)
