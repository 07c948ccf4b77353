"""Containers made, leased and destroyed, by command to their hosts."""

from collections.abc import Callable

import structlog
from stoker_service.background import Background
from stoker_service.telemetry import tracer

from stoker_scheduler.commands import (
    Command,
    CommandFailed,
    CreateContainer,
    DestroyContainer,
    Done,
    LoadFailure,
    SetLease,
)
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.host_streams import HostStreams
from stoker_scheduler.machines import Container, ContainerState
from stoker_scheduler.vms import Timeouts, Vms

log = structlog.get_logger()


class Containers:
    """Sees to it that containers become what the fleet says they are meant to be."""

    def __init__(
        self,
        fleet: Fleet,
        streams: HostStreams,
        vms: Vms,
        background: Background,
        timeouts: Timeouts,
        clock: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._streams = streams
        self._vms = vms
        self._background = background
        self._timeouts = timeouts
        self._clock = clock
        self._making: set[str] = set()
        """Containers whose hosts have been told to make them, and have not said what became of it."""
        self._gone_early: set[str] = set()
        """Those of them that are gone already."""

    async def make(
        self, container: Container, lease_id: str = "", holder: str = "", *, is_in_background: bool = False
    ) -> Done | LoadFailure:
        """Makes a container that the fleet has as being created, first its VM if need be.

        One that could not be made, or whose code could not be loaded, is in the fleet no more.

        Raises:
            CommandFailed: It could not be made.
        """
        try:
            await self._vms.ready(container.vm, container.version.tenant)
            self._check_room(container)
        except CommandFailed:
            self._remove(container.id)
            raise
        command = CreateContainer(
            container.id, container.vm, container.version, lease_id, holder, is_in_background=is_in_background
        )
        self._making.add(container.id)
        try:
            with tracer().start_as_current_span("container.create"):
                made = await self._order(container, command, self._timeouts.container_s)
        except CommandFailed as failure:
            self._end_after(failure, container.id)
            raise
        else:
            if isinstance(made, LoadFailure) or container.id in self._gone_early:
                self._remove(container.id)
        finally:
            self._making.discard(container.id)
            self._gone_early.discard(container.id)
        if isinstance(made, Done):
            found = self._fleet.find_container(container.id)
            if found is None or found.state is not ContainerState.CREATING:
                raise CommandFailed("CONTAINER_LOST", f"{container.id} ended as soon as it was made")
        return made

    def note_gone(self, container: str) -> bool:
        """Notes that a container is gone; returns whether the fleet is to keep it until its host says why.

        A host tells that a container is gone before it tells that it could not be made. Without knowing that, another
        would be made for the same demand.
        """
        if container in self._making:
            self._gone_early.add(container)
        return container in self._making

    async def lease(self, container: Container, lease_id: str, holder: str) -> None:
        """Puts a container under a lease. One that cannot be is destroyed.

        Raises:
            CommandFailed: It could not be.
        """
        try:
            with tracer().start_as_current_span("container.lease"):
                await self._order(container, SetLease(container.id, lease_id, holder), self._timeouts.command_s)
        except CommandFailed as failure:
            self._end_after(failure, container.id)
            raise

    def unlease(self, container: str) -> None:
        """Tells a container's host that it is under no lease; where that fails and nobody took it, it is destroyed."""
        self._background.start(self._unlease(container), f"unlease {container}")

    def end(self, container: str) -> None:
        """Destroys a container, unless that is being done."""
        found = self._fleet.find_container(container)
        if found and found.state is not ContainerState.ENDING:
            self._fleet.end_container(container, self._clock())
            self.destroy(container)

    def destroy(self, container: str) -> None:
        """Has a container destroyed that the fleet has as ending. It stays so until its host has done it."""
        self._background.start(self._destroy(container), f"destroy {container}")

    def _end_after(self, failure: CommandFailed, container: str) -> None:
        """Ends a container of which it is not known what its host made of a command."""
        # What a lost host has will be known when it comes back.
        if not failure.is_host_lost:
            self.end(container)

    def _check_room(self, container: Container) -> None:
        if self._fleet.find_container(container.id) is None:
            raise CommandFailed("VM_LOST", f"{container.vm} turned out to be another tenant's")
        if self._fleet.vm_free_mib(container.vm) < 0:
            raise CommandFailed("NO_ROOM", f"{container.vm} has less memory for containers than was thought")

    async def _order(self, container: Container, command: Command, timeout_s: float) -> Done | LoadFailure:
        vm = self._fleet.find_vm(container.vm)
        if vm is None:
            raise CommandFailed("VM_LOST", f"{container.vm} is gone")
        return await self._streams.order(vm.host, command, timeout_s)

    async def _unlease(self, container: str) -> None:
        found = self._fleet.find_container(container)
        if found is None or found.state is ContainerState.ENDING:
            return
        try:
            await self._order(found, SetLease(container), self._timeouts.command_s)
        except CommandFailed as failure:
            log.warning("container.not_unleased", container=container, reason=failure.reason, message=failure.message)
            found = self._fleet.find_container(container)
            if found and found.state is ContainerState.IDLE:
                self.end(container)

    async def _destroy(self, container: str) -> None:
        found = self._fleet.find_container(container)
        if found is None:
            return
        try:
            await self._order(found, DestroyContainer(container), self._timeouts.container_s)
        except CommandFailed as failure:
            log.warning("container.not_destroyed", container=container, reason=failure.reason, message=failure.message)
            return
        self._remove(container)
        log.info("container.destroyed", container=container, vm=found.vm)

    def _remove(self, container: str) -> None:
        if self._fleet.find_container(container):
            self._fleet.remove_container(container, self._clock())
