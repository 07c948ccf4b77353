"""Containers by what they are doing."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import TypeVar

from stoker_scheduler.machines import Container, ContainerState, FunctionKey
from stoker_scheduler.ranking import Rankings

Key = TypeVar("Key", str, FunctionKey)


class ContainerLists:
    """Lists of containers. The fleet keeps them; everybody else only asks."""

    def __init__(self) -> None:
        self._rankings = Rankings()
        self._creating: defaultdict[str, dict[str, Container]] = defaultdict(dict)
        self._endable: dict[str, Container] = {}
        self._endable_of_tenant: defaultdict[str, dict[str, Container]] = defaultdict(dict)
        self._ending: dict[str, Container] = {}
        self._of_function: defaultdict[FunctionKey, dict[str, Container]] = defaultdict(dict)
        self._needed: defaultdict[str, int] = defaultdict(int)
        self._changed: dict[str, None] = {}

    def idle_of_version(self, version_uid: str) -> str | None:
        """An idle container of a version, in the fullest VM, by id among equals."""
        return self._rankings.first((version_uid,))

    def idle_longest_first(self) -> Iterator[Container]:
        """All idle containers that may end, those used least recently first."""
        return iter(self._endable.values())

    def idle_of_tenant(self, tenant: str) -> Iterator[Container]:
        """A tenant's idle containers that may end, those used least recently first."""
        return iter(self._endable_of_tenant.get(tenant, {}).values())

    def tenants_with_idle(self) -> Collection[str]:
        """The tenants that have idle containers that may end."""
        return self._endable_of_tenant.keys()

    def of_function(self, function: FunctionKey) -> Collection[Container]:
        """All containers of a function."""
        return self._of_function.get(function, {}).values()

    def creating_count(self, version_uid: str) -> int:
        """How many containers of a version are being created."""
        return len(self._creating.get(version_uid, ()))

    def creating(self) -> Iterator[Container]:
        """All containers that are being created."""
        return (container for containers in self._creating.values() for container in containers.values())

    def ending(self) -> Iterator[Container]:
        """All containers that are being destroyed; each holds its memory until it is gone."""
        return iter(self._ending.values())

    def has_needed(self, vm: str) -> bool:
        """Whether a VM has a container that somebody has or waits for, or that is to be kept."""
        return vm in self._needed

    def take_changed(self) -> dict[str, None]:
        """The versions of which a container fell idle, or began or ceased to be created, since this was last asked."""
        changed, self._changed = self._changed, {}
        return changed

    def enter(self, container: Container, vm_free_mib: int) -> None:
        """Adds a container, whose VM has so much free memory."""
        version = container.version
        self._of_function[version.key][container.id] = container
        match container.state:
            case ContainerState.CREATING:
                self._creating[version.uid][container.id] = container
                self._changed[version.uid] = None
            case ContainerState.IDLE:
                if not container.is_provisioned:
                    self._endable[container.id] = container
                    self._endable_of_tenant[version.tenant][container.id] = container
                self._rankings.add((version.uid,), vm_free_mib, container.id)
                self._changed[version.uid] = None
            case ContainerState.ENDING:
                self._ending[container.id] = container
            case ContainerState.LEASED:
                pass
        if _is_needed(container):
            self._needed[container.vm] += 1

    def withdraw(self, container: Container, vm_free_mib: int) -> None:
        """Removes a container that was entered like this."""
        version = container.version
        _remove(self._of_function, version.key, container.id)
        match container.state:
            case ContainerState.CREATING:
                _remove(self._creating, version.uid, container.id)
                self._changed[version.uid] = None
            case ContainerState.IDLE:
                if not container.is_provisioned:
                    del self._endable[container.id]
                    _remove(self._endable_of_tenant, version.tenant, container.id)
                self._rankings.remove((version.uid,), vm_free_mib, container.id)
            case ContainerState.ENDING:
                del self._ending[container.id]
            case ContainerState.LEASED:
                pass
        if _is_needed(container):
            self._needed[container.vm] -= 1
            if not self._needed[container.vm]:
                del self._needed[container.vm]

    def move(self, container: Container, before_mib: int, vm_free_mib: int) -> None:
        """Notes that the free memory of a container's VM changed."""
        if container.state is ContainerState.IDLE:
            self._rankings.remove((container.version.uid,), before_mib, container.id)
            self._rankings.add((container.version.uid,), vm_free_mib, container.id)


def _is_needed(container: Container) -> bool:
    return container.is_busy or (container.is_provisioned and container.state is not ContainerState.ENDING)


def _remove(lists: dict[Key, dict[str, Container]], key: Key, container: str) -> None:
    del lists[key][container]
    if not lists[key]:
        del lists[key]
