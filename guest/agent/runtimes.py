"""The language runtimes that the image holds.

Each is a directory with a `runtime.json`, so that one is added without a change here. `guest/runtimes/README.md` tells
what a runtime must do.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Runtime:
    """A language runtime."""

    name: str
    command: tuple[str, ...]
    """The program's path in the container and its arguments; `{memory_mib}` stands for the VM's memory."""
    reads_ports: bool = False
    """Whether it can read invocations from a port of its own."""

    def command_for(self, memory_mib: int) -> list[str]:
        """The command in a VM with this memory. What the container gets of it is only known when it gets its code."""
        return [part.replace("{memory_mib}", str(memory_mib)) for part in self.command]


def vm_memory_mib() -> int:
    """The memory of this VM, as far as its kernel leaves it to processes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def find_runtimes(directory: Path) -> Mapping[str, Runtime]:
    """The runtimes in a directory whose program is there, by name."""
    found: dict[str, Runtime] = {}
    for description in sorted(directory.glob("*/runtime.json")):
        told = json.loads(description.read_text())
        command = tuple(told["command"])
        if Path(command[0]).exists():
            name = description.parent.name
            found[name] = Runtime(name, command, reads_ports=told.get("reads_ports", False))
    return found
