"""The containers of this host: what there is, under which lease, and which are busy.

Here is only the book. `container_life.py` makes and destroys what it says; `invocations.py` uses it.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stoker_hostagent import errors
from stoker_hostagent.leases import Lease
from stoker_hostagent.versions import Version

REMEMBERED_GONE = 1024
"""How many containers that are gone are still known, for the last lines that they printed."""


class ContainerState(Enum):
    """Where a container is in its life. It goes through these in order, and never back."""

    CREATING = "creating"
    """Being made, or loading the code."""
    LOADED = "loaded"
    """The code is loaded."""
    ENDING = "ending"
    """Being destroyed."""


class Start(Enum):
    """How a container came to have its code."""

    PRIMED = "primed"
    """A blank one was there, and got it."""
    COLD = "cold"
    """One had to be made."""


class ContainerGoneReason(Enum):
    """Why a container is no more."""

    DESTROYED = "destroyed"
    """Somebody asked for it, or its code could not be loaded."""
    EXITED = "exited"
    """It ended by itself."""
    KILLED = "killed"
    """It overran a limit, lost its caller, or its VM ended."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container at one moment."""

    id: str
    """`c-` and 12 hexadecimal digits."""
    vm: str
    version: Version
    state: ContainerState
    lease: Lease | None = None


class ContainerListener(Protocol):
    """Who is told what happens to containers. Called on the event loop; must neither block nor raise."""

    def container_changed(self, container: Container) -> None:
        """A container has appeared, or changed."""
        ...

    def container_gone(self, container: Container, reason: ContainerGoneReason) -> None:
        """A container is no more."""
        ...


@dataclass(slots=True)
class _Page:
    container: Container
    running: int = 0
    """How many invocations run in it."""
    earlier_lease: Lease | None = None
    """Granted before the host agent was restarted. It counts if it is presented before anything else has happened."""


class Containers:
    """The book of containers."""

    def __init__(self, listener: ContainerListener) -> None:
        self._listener = listener
        self._pages: dict[str, _Page] = {}
        self._gone: OrderedDict[str, Container] = OrderedDict()

    def all(self) -> Sequence[Container]:
        """All containers at this moment."""
        return [page.container for page in self._pages.values()]

    def memory_mib_in(self, vm_id: str) -> int:
        """The limits of all containers in a VM together, in MiB."""
        return sum(page.container.version.memory_mib for page in self._pages.values() if page.container.vm == vm_id)

    def find(self, container_id: str) -> Container | None:
        """A container, or None where there is none of that id."""
        page = self._pages.get(container_id)
        return page.container if page else None

    def find_in(self, vm_id: str, container_id: str) -> Container | None:
        """A container of one VM, also one that is gone since not long ago; None where there is none of that id.

        A guest speaks of its own containers alone.
        """
        container = self.find(container_id) or self._gone.get(container_id)
        return container if container and container.vm == vm_id else None

    def add(self, container: Container, earlier_lease: Lease | None = None) -> None:
        """Enters a new container, with the lease that it had before a restart."""
        self._pages[container.id] = _Page(container, earlier_lease=earlier_lease)
        self._listener.container_changed(container)

    def set_state(self, container_id: str, state: ContainerState) -> None:
        """Moves a container on in its life. It loses its lease with the last state.

        Raises:
            StokerError: CONTAINER_NOT_FOUND: it has ended meanwhile.
        """
        page = self._page(container_id)
        is_ending = state is ContainerState.ENDING
        if is_ending:
            page.earlier_lease = None
        lease = None if is_ending else page.container.lease
        self._change(page, dataclasses.replace(page.container, state=state, lease=lease))

    def set_lease(self, container_id: str, lease: Lease | None) -> None:
        """Puts a container under a lease, or under none; the one before no longer counts.

        A running invocation goes on.

        Raises:
            StokerError: CONTAINER_NOT_FOUND, also where it is about to end.
        """
        page = self._page(container_id)
        if page.container.state is ContainerState.ENDING:
            raise errors.container_not_found(container_id)
        page.earlier_lease = None
        self._change(page, dataclasses.replace(page.container, lease=lease))

    def end_leases_of(self, holder: str) -> None:
        """Ends all leases of a holder that is no more."""
        for page in self._pages.values():
            if page.container.lease is not None and page.container.lease.holder == holder:
                self._change(page, dataclasses.replace(page.container, lease=None))

    def end_earlier_leases(self) -> None:
        """Ends the leases granted before a restart that nobody has presented."""
        for page in self._pages.values():
            page.earlier_lease = None

    def take(self, container_id: str, lease_id: str) -> Container:
        """Begins the use of a container for one invocation.

        Raises:
            StokerError: LEASE_STALE: the container is not there, not ready, full, or under another lease.
        """
        page = self._pages.get(container_id)
        if page is None:
            raise errors.lease_stale(container_id, "the container is not there any more")
        if page.earlier_lease is not None and page.earlier_lease.id == lease_id:
            self.set_lease(container_id, page.earlier_lease)
        container = page.container
        if container.lease is None or container.lease.id != lease_id:
            raise errors.lease_stale(container_id, "the container is not under this lease any more")
        if container.state is not ContainerState.LOADED:
            raise errors.lease_stale(container_id, "the container has no code loaded")
        if page.running >= container.version.concurrency:
            raise errors.lease_stale(container_id, "the container runs as many invocations as it may")
        page.running += 1
        return container

    def give_back(self, container_id: str) -> None:
        """Ends its use for one invocation; a container that has ended meanwhile is no error."""
        if page := self._pages.get(container_id):
            page.running -= 1

    def remove(self, container_id: str, reason: ContainerGoneReason) -> None:
        """Strikes out a container that is no more. An unknown one is no error."""
        page = self._pages.pop(container_id, None)
        if page is None:
            return
        self._gone[container_id] = page.container
        if len(self._gone) > REMEMBERED_GONE:
            self._gone.popitem(last=False)
        self._listener.container_gone(page.container, reason)

    def remove_vm(self, vm_id: str) -> None:
        """Strikes out all containers of a VM that is no more."""
        for container in self.all():
            if container.vm == vm_id:
                self.remove(container.id, ContainerGoneReason.KILLED)

    def _page(self, container_id: str) -> _Page:
        page = self._pages.get(container_id)
        if page is None:
            raise errors.container_not_found(container_id)
        return page

    def _change(self, page: _Page, container: Container) -> None:
        if container != page.container:
            page.container = container
            self._listener.container_changed(container)
