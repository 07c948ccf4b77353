"""Control groups of containers: crun sets the first limits, from the configuration; later ones are set from here."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "stoker"
CONTROLLERS = "+cpu +memory +pids"


def prepare() -> None:
    """Makes the group of all containers, and lets groups in it have limits."""
    (ROOT / "cgroup.subtree_control").write_text(CONTROLLERS)
    (ROOT / PARENT).mkdir(exist_ok=True)
    (ROOT / PARENT / "cgroup.subtree_control").write_text(CONTROLLERS)


class Cgroup:
    """The control group of one container."""

    def __init__(self, container: str) -> None:
        self.path = f"/{PARENT}/{container}"
        """As crun wants it: below the mount point."""
        self._directory = ROOT / PARENT / container

    def limit(self, limits: Mapping[str, str]) -> None:
        """Sets limits, each by the name of its file.

        Raises:
            OSError: There is no such group any more.
        """
        for name, value in limits.items():
            (self._directory / name).write_text(value)

    def kill(self) -> None:
        """Kills all processes in it, at once."""
        with suppress(FileNotFoundError):
            (self._directory / "cgroup.kill").write_text("1")

    def has_run_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process in it for want of memory."""
        with suppress(FileNotFoundError):
            for line in (self._directory / "memory.events").read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count) > 0
        return False

    def remove(self) -> None:
        """Removes what crun may have left of it."""
        with suppress(FileNotFoundError):
            self._directory.rmdir()
