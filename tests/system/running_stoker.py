"""A Stoker of the tests' own: its services, state, ports and host id, beside any other on this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import stoker
from stoker.models import Fleet

from tests.system.images import IMAGES_DIR

CLI = Path(sys.executable).with_name("stoker")
ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("codestore", "scheduler", "frontend", "hostagent")
UP_S = 420
"""`stoker up` builds the guest image where there is none."""


@dataclass(frozen=True, slots=True)
class RunningStoker:
    """What `stoker up` has started."""

    home: Path
    port_base: int
    environment: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """Where the frontend answers."""
        return f"127.0.0.1:{self.port_base}"

    def run(
        self, *arguments: str, check: bool = True, timeout_s: float = 120, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Runs the command line, as a person would."""
        done = subprocess.run(
            [CLI, *arguments],
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"stoker {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def up(self) -> None:
        """Starts what does not run."""
        self.run("up", "--home", str(self.home), "--port-base", str(self.port_base), timeout_s=UP_S)

    def down(self) -> None:
        """Stops everything."""
        self.run("down", "--home", str(self.home))

    def client(self, api_key: str | None = None) -> stoker.Client:
        """A client of the tenant `dev`, or of whose key is given, that is the operator too."""
        configuration = self.configuration()
        return stoker.Client(
            self.endpoint, api_key=api_key or configuration["api_key"], admin_key=configuration["admin_key"]
        )

    def configuration(self) -> dict[str, str]:
        """What `stoker up` has written for the command line."""
        return tomllib.loads((self.home / "config" / "stoker" / "config.toml").read_text())

    def fleet(self) -> Fleet:
        """All VMs and containers of this moment."""
        with self.client() as client:
            return client.get_fleet()

    def pid_of(self, service: str) -> int:
        """The process of a service."""
        return json.loads((self.home / "run" / f"{service}.json").read_text())["pid"]

    def kill(self, service: str) -> None:
        """Ends a service without any warning."""
        os.kill(self.pid_of(service), signal.SIGKILL)

    def destroy_domain_of(self, vm: str) -> None:
        """Pulls the plug of a virtual machine."""
        (name,) = [name for name in _domains() if name.endswith(vm)]
        subprocess.run(["virsh", "-c", "qemu:///system", "destroy", name], capture_output=True, check=True)

    def left_behind(self) -> list[str]:
        """What of this Stoker is still there: processes, virtual machines, mounts, sockets."""
        home = str(self.home)
        mark = f"{home}/".encode()
        processes = [
            f"process {process.name}"
            for process in Path("/proc").glob("[0-9]*")
            if process.name != str(os.getpid()) and mark in _read(process / "environ") + _read(process / "cmdline")
        ]
        host = self.host_id()
        domains = [f"domain {name}" for name in _domains() if name.startswith(f"stoker-{host}-")]
        mounts = [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if home in line]
        sockets = [f"socket {path}" for path in self.home.rglob("*") if path.is_socket()]
        return processes + domains + mounts + sockets

    def host_id(self) -> str:
        """The id of the host agent's host."""
        return json.loads((self.home / "run" / "layout.json").read_text())["host"]

    def resident_bytes(self, service: str) -> int:
        """The memory that a service's process occupies."""
        status = Path(f"/proc/{self.pid_of(service)}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _domains() -> list[str]:
    command = ["virsh", "-c", "qemu:///system", "list", "--name"]
    # Where `stoker down` has stopped libvirt, which it had started, there are none.
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # It has ended meanwhile.
        return b""


def free_port_base() -> int:
    """A port with the next few after it that nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            base: int = probe.getsockname()[1]
        if base + len(SERVICES) < 65536 and all(_is_free(base + offset) for offset in range(len(SERVICES))):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def running_stoker(extra_environment: Mapping[str, str] | None = None) -> Generator[RunningStoker]:
    """Starts a Stoker of its own, and stops it on leaving."""
    home = Path(tempfile.mkdtemp(prefix="stoker-test-"))
    # QEMU runs as a user of its own, who must be able to reach its files.
    home.chmod(0o755)
    environment = {
        # An image that is there already is not built again.
        "STOKER_HOSTAGENT_IMAGES_DIR": str(IMAGES_DIR),
        # Each virtual machine that waits takes a tenth of a processor where it is emulated.
        "STOKER_SCHEDULER_WARMING_VMS_MOST": "1",
        **os.environ,
        "XDG_CONFIG_HOME": str(home / "config"),
        "NO_COLOR": "1",
        **(extra_environment or {}),
    }
    running = RunningStoker(home, free_port_base(), environment)
    try:
        running.up()
        yield running
    finally:
        running.down()
        left = running.left_behind()
        shutil.rmtree(home)
    assert left == [], "`stoker down` left something behind"
