"""The virtio-serial ports that containers may have for themselves, to read invocations from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PORTS = Path("/sys/class/virtio-ports")
PREFIX = "dev.stoker.container."


def find_container_ports() -> Mapping[int, Path]:
    """The devices of this VM's ports, by their numbers."""
    found: dict[int, Path] = {}
    for port in PORTS.glob("*"):
        number = (port / "name").read_text().strip().removeprefix(PREFIX)
        if number.isdecimal():
            found[int(number)] = Path("/dev", port.name)
    return found


@dataclass(frozen=True, slots=True)
class OpenPort:
    """A port that nobody else can open as long as it is open, anywhere."""

    number: int
    file: int

    def close(self) -> None:
        """Closes it here; a runtime that has been given it keeps it open."""
        os.close(self.file)


def open_container_port(number: int, device: Path) -> OpenPort:
    """Opens a port.

    Raises:
        OSError: Somebody has it open, or it isn't there.
    """
    return OpenPort(number, os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
