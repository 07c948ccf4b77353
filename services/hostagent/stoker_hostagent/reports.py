"""What the scheduler is told of this host: a snapshot first, then each change in order."""

import asyncio
from collections import deque
from collections.abc import Callable

from stoker_protos.scheduler.v1 import hosts_pb2

from stoker_hostagent.containers import Container, ContainerGoneReason
from stoker_hostagent.vm import GoneReason, Vm
from stoker_hostagent.wire import container_to_proto

Report = hosts_pb2.ConnectRequest


class Outbox:
    """The reports of one connection that wait to be sent, up to a number."""

    def __init__(self, snapshot: Report, max_unsent: int) -> None:
        """Begins with the snapshot. What is put in from then on are changes to it."""
        self._unsent = deque([snapshot])
        self._max_unsent = max_unsent
        self._has_unsent = asyncio.Event()
        self._has_unsent.set()
        self.has_overflowed = False

    def put(self, report: Report) -> None:
        """Adds a report. When there are too many, the connection has to begin again with a new snapshot."""
        if len(self._unsent) >= self._max_unsent:
            self.has_overflowed = True
        else:
            self._unsent.append(report)
        self._has_unsent.set()

    async def next(self) -> Report | None:
        """Waits for the next report; None once one is missing."""
        while not self._unsent or self.has_overflowed:
            if self.has_overflowed:
                return None
            self._has_unsent.clear()
            await self._has_unsent.wait()
        return self._unsent.popleft()


class Reports:
    """Takes all that happens. Without a connection it is forgotten, as the next snapshot says how things are then."""

    def __init__(
        self,
        snapshot: Callable[[], hosts_pb2.HostSnapshot],
        vm_status: Callable[[Vm], hosts_pb2.VmStatus],
        max_unsent: int,
    ) -> None:
        """Begins without a connection.

        Args:
            snapshot: Describes the host at this moment.
            vm_status: Describes a VM.
            max_unsent: How many reports may wait to be sent.
        """
        self._snapshot = snapshot
        self._vm_status = vm_status
        self._max_unsent = max_unsent
        self._outbox: Outbox | None = None

    def begin(self) -> Outbox:
        """Begins a connection: returns its outbox, into which all goes from now on that the snapshot in it lacks."""
        self._outbox = Outbox(Report(snapshot=self._snapshot()), self._max_unsent)
        return self._outbox

    def end(self) -> None:
        """Ends the connection."""
        self._outbox = None

    def vm_changed(self, vm: Vm) -> None:
        """A VM has appeared, or changed."""
        self._put(Report(vm=self._vm_status(vm)))

    def vm_gone(self, vm_id: str, reason: GoneReason) -> None:
        """A VM is no more."""
        self._put(Report(vm_gone=hosts_pb2.VmGone(vm=vm_id, reason=reason.value)))

    def container_changed(self, container: Container) -> None:
        """A container has appeared, or changed."""
        self._put(Report(container=container_to_proto(container)))

    def container_gone(self, container: Container, reason: ContainerGoneReason) -> None:
        """A container is no more."""
        self._put(Report(container_gone=hosts_pb2.ContainerGone(container=container.id, reason=reason.value)))

    def holder_gone(self, holder: str) -> None:
        """A frontend is no more."""
        self._put(Report(holder_gone=hosts_pb2.HolderGone(holder=holder)))

    def result(self, result: hosts_pb2.CommandResult) -> None:
        """A command was carried out, or failed."""
        self._put(Report(result=result))

    def _put(self, report: Report) -> None:
        if self._outbox is not None:
            self._outbox.put(report)
