"""The language runtimes that the image holds.

Each is a directory with a `runtime.json`, so that one is added without a change here. `guest/runtimes/README.md` tells
what a runtime must do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Runtime:
    """A language runtime."""

    name: str
    command: tuple[str, ...]
    """The program's path in the container and its arguments; `{memory_mib}` stands for the container's limit."""

    def command_for(self, memory_mib: int) -> list[str]:
        """The command in a container with this limit on its memory."""
        return [part.replace("{memory_mib}", str(memory_mib)) for part in self.command]


def find_runtimes(directory: Path) -> Mapping[str, Runtime]:
    """The runtimes in a directory whose program is there, by name."""
    found: dict[str, Runtime] = {}
    for description in sorted(directory.glob("*/runtime.json")):
        command = tuple(json.loads(description.read_text())["command"])
        if Path(command[0]).exists():
            found[description.parent.name] = Runtime(description.parent.name, command)
    return found
