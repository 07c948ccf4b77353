"""Containers by what they are doing."""

from collections import defaultdict
from collections.abc import Iterator

from stoker_scheduler.machines import Container, ContainerState
from stoker_scheduler.ranking import Rankings


class ContainerLists:
    """Lists of containers. The fleet keeps them; everybody else only asks."""

    def __init__(self) -> None:
        self._rankings = Rankings()
        self._creating: defaultdict[str, dict[str, Container]] = defaultdict(dict)
        self._idle: dict[str, Container] = {}
        self._idle_of_tenant: defaultdict[str, dict[str, Container]] = defaultdict(dict)
        self._ending: dict[str, Container] = {}
        self._busy: defaultdict[str, int] = defaultdict(int)

    def idle_of_version(self, version_uid: str) -> str | None:
        """An idle container of a version, in the fullest VM, by id among equals."""
        return self._rankings.first((version_uid,))

    def idle_longest_first(self) -> Iterator[Container]:
        """All idle containers, those used least recently first."""
        return iter(self._idle.values())

    def idle_of_tenant(self, tenant: str) -> Iterator[Container]:
        """A tenant's idle containers, those used least recently first."""
        return iter(self._idle_of_tenant.get(tenant, {}).values())

    def creating_count(self, version_uid: str) -> int:
        """How many containers of a version are being created."""
        return len(self._creating.get(version_uid, ()))

    def creating(self) -> Iterator[Container]:
        """All containers that are being created."""
        return (container for containers in self._creating.values() for container in containers.values())

    def ending(self) -> Iterator[Container]:
        """All containers that are being destroyed; each holds its memory until it is gone."""
        return iter(self._ending.values())

    def has_busy(self, vm: str) -> bool:
        """Whether a VM has a container that somebody has or waits for."""
        return vm in self._busy

    def enter(self, container: Container, vm_free_mib: int) -> None:
        """Adds a container, whose VM has so much free memory."""
        version = container.version
        match container.state:
            case ContainerState.CREATING:
                self._creating[version.uid][container.id] = container
            case ContainerState.IDLE:
                self._idle[container.id] = container
                self._idle_of_tenant[version.tenant][container.id] = container
                self._rankings.add((version.uid,), vm_free_mib, container.id)
            case ContainerState.ENDING:
                self._ending[container.id] = container
            case ContainerState.LEASED:
                pass
        if container.is_busy:
            self._busy[container.vm] += 1

    def withdraw(self, container: Container, vm_free_mib: int) -> None:
        """Removes a container that was entered like this."""
        version = container.version
        match container.state:
            case ContainerState.CREATING:
                _remove(self._creating, version.uid, container.id)
            case ContainerState.IDLE:
                del self._idle[container.id]
                _remove(self._idle_of_tenant, version.tenant, container.id)
                self._rankings.remove((version.uid,), vm_free_mib, container.id)
            case ContainerState.ENDING:
                del self._ending[container.id]
            case ContainerState.LEASED:
                pass
        if container.is_busy:
            self._busy[container.vm] -= 1
            if not self._busy[container.vm]:
                del self._busy[container.vm]

    def move(self, container: Container, before_mib: int, vm_free_mib: int) -> None:
        """Notes that the free memory of a container's VM changed."""
        if container.state is ContainerState.IDLE:
            self._rankings.remove((container.version.uid,), before_mib, container.id)
            self._rankings.add((container.version.uid,), vm_free_mib, container.id)


def _remove(lists: dict[str, dict[str, Container]], key: str, container: str) -> None:
    del lists[key][container]
    if not lists[key]:
        del lists[key]
