"""libvirt's daemons, on machines without systemd to start them."""

import re
import shutil
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoker.errors import StokerError
from stoker.local.layout import Layout
from stoker.local.privileges import Privileges
from stoker.local.processes import identify, recall, remember, wait_for_end

WHY = "running virtual machines (libvirt)"
START_S = 30.0
END_S = 20.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """One of libvirt's daemons."""

    name: str
    socket: Path
    pid_file: Path


DAEMONS = (
    Daemon("virtlogd", Path("/run/libvirt/virtlogd-sock"), Path("/run/virtlogd.pid")),
    Daemon("libvirtd", Path("/run/libvirt/libvirt-sock"), Path("/run/libvirtd.pid")),
)
"""In the order in which they are started."""


class HypervisorMissing(StokerError):
    """libvirt does not answer, and cannot be started from here."""


def is_answering(daemon: Daemon) -> bool:
    """Whether somebody listens on the daemon's socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(daemon.socket))
        except PermissionError:
            # It is there, only not for this user.
            return True
        except OSError:
            return False
    return True


def start_missing(layout: Layout, privileges: Privileges) -> Sequence[str]:
    """Starts the daemons that do not run, and notes that it did; returns their names.

    Raises:
        HypervisorMissing: One is not installed, is systemd's to start, or does not start.
        NeedsRoot: They have to be started by root.
    """
    started: list[str] = []
    for daemon in DAEMONS:
        if is_answering(daemon):
            continue
        if Path("/run/systemd/system").is_dir():
            # systemd starts virtlogd by itself when libvirtd asks for it.
            if daemon.name == "virtlogd":
                continue
            raise HypervisorMissing(
                "LIBVIRT_NOT_RUNNING", "libvirtd does not run; start it by `sudo systemctl enable --now libvirtd`"
            )
        _start(daemon, layout, privileges)
        started.append(daemon.name)
    return started


def stop_started(layout: Layout, privileges: Privileges) -> Sequence[str]:
    """Stops the daemons that `start_missing` had started and that still run; returns their names."""
    stopped: list[str] = []
    for daemon in reversed(DAEMONS):
        file = layout.process_file(daemon.name)
        process = recall(file)
        if process is not None:
            privileges.run(["kill", f"-{signal.SIGTERM.value}", str(process.pid)], WHY, timeout_s=10)
            if wait_for_end([process], END_S):
                raise HypervisorMissing("DAEMON_RUNS_ON", f"{daemon.name} does not end; its pid is {process.pid}")
            stopped.append(daemon.name)
        file.unlink(missing_ok=True)
    return stopped


def _start(daemon: Daemon, layout: Layout, privileges: Privileges) -> None:
    program = shutil.which(daemon.name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise HypervisorMissing(
            "LIBVIRT_NOT_INSTALLED",
            f"{daemon.name} is not installed; `apt-get install libvirt-daemon-system` brings it",
        )
    # It returns when the daemon is ready, or has failed.
    privileges.run([program, "-d"], WHY, timeout_s=START_S)
    process = identify(_pid_in(daemon.pid_file))
    if process is None or not is_answering(daemon):
        raise HypervisorMissing("LIBVIRT_NOT_RUNNING", f"{daemon.name} was started and does not answer; see its log")
    remember(layout.process_file(daemon.name), process)


def _pid_in(file: Path) -> int:
    try:
        match = re.match(r"\d+", file.read_text(encoding="utf-8"))
    except OSError:
        match = None
    return int(match[0]) if match else 0
