"""What happens to VMs and containers, told to all parts that have to know."""

from collections.abc import Callable, Sequence

from stoker_hostagent.blanks import Blanks
from stoker_hostagent.code_cache import CodeCache
from stoker_hostagent.code_uses import uses_of
from stoker_hostagent.containers import Container, ContainerGoneReason, Containers
from stoker_hostagent.leases import LeaseFile
from stoker_hostagent.log_store import LogStore
from stoker_hostagent.reports import Reports
from stoker_hostagent.vm import GoneReason, Vm


class ContainerEvents:
    """Listens to the book of containers."""

    def __init__(
        self, reports: Reports, code: CodeCache, leases: LeaseFile, room_changed: Callable[[str], None]
    ) -> None:
        """Passes on what happens.

        Args:
            reports: What the scheduler is told.
            code: What containers run.
            leases: What outlives a restart.
            room_changed: Told of a VM that has more or fewer containers than before.
        """
        self._reports = reports
        self._code = code
        self._leases = leases
        self._room_changed = room_changed

    def container_changed(self, container: Container) -> None:
        """Reports it, and keeps its lease for after a restart."""
        self._leases.note(container.id, container.lease)
        self._reports.container_changed(container)
        self._room_changed(container.vm)

    def container_gone(self, container: Container, reason: ContainerGoneReason) -> None:
        """Reports it, and lets go of its lease and code."""
        self._leases.note(container.id, None)
        for user, _ in uses_of(container.id, container.version):
            self._code.release(user)
        self._reports.container_gone(container, reason)
        self._room_changed(container.vm)


class VmEvents:
    """Listens to the VMs. What a guest says is believed of its own containers alone."""

    def __init__(self, reports: Reports, containers: Containers, blanks: Blanks, logs: LogStore) -> None:
        self._reports = reports
        self._containers = containers
        self._blanks = blanks
        self._logs = logs

    def vm_changed(self, vm: Vm) -> None:
        """Reports it, and sees to its blank containers."""
        self._blanks.vm_changed(vm)
        self._reports.vm_changed(vm)

    def vm_gone(self, vm_id: str, reason: GoneReason) -> None:
        """Reports it, after the containers that went with it."""
        self._blanks.forget(vm_id)
        self._containers.remove_vm(vm_id)
        self._reports.vm_gone(vm_id, reason)

    def container_exited(self, vm_id: str, container: str, reason: str) -> None:
        """Strikes out a container that ended by itself."""
        if self._containers.find_in(vm_id, container):
            gone = ContainerGoneReason.KILLED if reason == "oom" else ContainerGoneReason.EXITED
            self._containers.remove(container, gone)
        else:
            self._blanks.exited(vm_id, container)

    def lines_printed(
        self, vm_id: str, container: str, invocation_id: str, stream: str, lines: Sequence[str], dropped: int
    ) -> None:
        """Keeps the lines of a container that is known here."""
        if known := self._containers.find_in(vm_id, container):
            self._logs.add(known.version, container, invocation_id, stream, lines, dropped)
