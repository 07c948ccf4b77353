"""The ports of one VM that its containers may have for themselves: which are free, and whose the others are."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from stoker_hostagent.container_port import ContainerPort

log = structlog.get_logger()


class GuestPorts:
    """The ports, counted from 1. Connecting takes no time: QEMU listens on a UNIX socket of this host."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Begins with all of them free; `paths` are the sockets where QEMU ends them, in their order."""
        self._paths = dict(enumerate(paths, 1))
        self._free = list(reversed(self._paths))
        self._open: dict[str, tuple[int, ContainerPort]] = {}

    def find(self, container: str) -> ContainerPort | None:
        """The port of a container; None where it has none."""
        found = self._open.get(container)
        return found[1] if found else None

    def open(self, container: str) -> int:
        """Connects a free port for a container, and returns its number; 0 where there is none."""
        if not self._free:
            return 0
        number = self._free[-1]
        return number if self._connect(container, number, is_used=False) else 0

    def adopt(self, container: str, number: int) -> bool:
        """Connects to the port that a container has had from an earlier host agent; returns whether it is connected."""
        return container in self._open or (number in self._free and self._connect(container, number, is_used=True))

    def close(self, container: str) -> None:
        """Frees the port of a container that is gone, if it has one."""
        if found := self._open.pop(container, None):
            number, port = found
            port.close()
            self._free.append(number)

    def close_all(self) -> None:
        """Gives up all ports for good: the VM has ended, or this host agent does."""
        for _, port in self._open.values():
            port.close("the way to the VM has ended")

    def _connect(self, container: str, number: int, *, is_used: bool) -> bool:
        try:
            port = ContainerPort(self._paths[number], is_used=is_used)
        except OSError as error:
            log.warning("guest.no_port", container=container, path=str(self._paths[number]), message=str(error))
            return False
        self._free.remove(number)
        self._open[container] = (number, port)
        return True
