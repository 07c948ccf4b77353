"""Leases granted, prolonged and ended, with what that means for their containers."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog

from stoker_scheduler.containers import Containers
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.leases import Lease, LeaseTable
from stoker_scheduler.machines import Container, ContainerState, FunctionKey, Version

log = structlog.get_logger()


class LeaseKeeper:
    """Keeps leases and containers in step."""

    def __init__(
        self,
        leases: LeaseTable,
        fleet: Fleet,
        containers: Containers,
        clock: Callable[[], float],
        recovered_s: float,
    ) -> None:
        """Begins to keep.

        Args:
            leases: The leases.
            fleet: The fleet.
            containers: What carries out the consequences.
            clock: Tells the time.
            recovered_s: Until when a lease that is not known may be one of a host that has not come back since the
                scheduler's start.
        """
        self._leases = leases
        self._fleet = fleet
        self._containers = containers
        self._clock = clock
        self._recovered_s = recovered_s
        self._draining: dict[str, tuple[float, Lease]] = {}
        """Containers whose leases were revoked: until when they may still run an invocation."""

    @property
    def ttl_s(self) -> float:
        """How long a lease holds without being renewed, in seconds."""
        return self._leases.ttl_s

    def grant(self, lease_id: str, container: Container, holder: str, concurrency: int = 1) -> Lease | None:
        """Begins the lease that a container's host has put it under; None where the container has ended meanwhile.

        Args:
            lease_id: The lease's id.
            container: The container.
            holder: Who has it.
            concurrency: How many invocations may run under it at once.
        """
        found = self._fleet.find_container(container.id)
        if found is None or found.state is not ContainerState.LEASED:
            return None
        host = self._fleet.vm(container.vm).host
        return self._leases.grant(
            lease_id,
            container=container.id,
            host=host,
            holder=holder,
            now_s=self._clock(),
            function=container.version.key,
            concurrency=concurrency,
        )

    def release(self, lease_id: str, *, is_broken: bool = False) -> None:
        """Ends a lease, if it still holds. The container is idle then, or, where it is broken, destroyed."""
        lease = self._leases.end(lease_id)
        if lease is None:
            return
        if is_broken:
            log.info("container.broken", container=lease.container)
            self._containers.end(lease.container)
        else:
            self._become_idle(lease)

    def renew(self, lease_ids: Sequence[str]) -> list[str]:
        """Prolongs leases, and returns those that have ended."""
        now_s = self._clock()
        ended = [lease_id for lease_id in lease_ids if not self._leases.renew(lease_id, now_s)]
        return ended if now_s >= self._recovered_s else []

    def revoke(self, container: Container) -> None:
        """Ends the lease that a container is under: its holder is told when it renews it.

        The host lets a running invocation go on, and takes no other under that lease. So the container is used for
        nothing else until that one must have ended.
        """
        lease = self._leases.end_of_container(container.id)
        if lease is None:
            return
        log.info("lease.revoked", lease=lease.id, container=container.id, holder=lease.holder)
        self._containers.unlease(container.id)
        self._draining[container.id] = (self._clock() + container.version.timeout_s, lease)

    def held_of(self, holder: str, version_uids: Collection[str], version: Version) -> int:
        """How many invocations a holder's leases of some versions of a function allow."""
        if not version_uids:
            return 0
        held = 0
        for container in self._fleet.lists.of_function(version.key):
            if container.version.uid in version_uids and (lease := self._leases.of_container(container.id)):
                held += lease.concurrency * (lease.holder == holder)
        return held

    def revoke_excess(self, function: FunctionKey, maximum: int) -> None:
        """Revokes the newest leases of a function whose maximum was lowered, so that they keep within it."""
        allowed = 0
        for container in sorted(self._fleet.lists.of_function(function), key=lambda container: container.since_s):
            if lease := self._leases.of_container(container.id):
                allowed += lease.concurrency
                if allowed > maximum:
                    self.revoke(container)

    def end_expired(self) -> None:
        """Ends the leases that were not renewed in time, and the rest of those that were revoked."""
        now_s = self._clock()
        for id_, (until_s, revoked) in list(self._draining.items()):
            if until_s <= now_s or self._fleet.find_container(id_) is None:
                del self._draining[id_]
                self._become_idle(revoked)
        for lease in self._leases.end_expired(self._clock()):
            log.info("lease.expired", lease=lease.id, container=lease.container, holder=lease.holder)
            self._become_idle(lease)

    def _become_idle(self, lease: Lease) -> None:
        container = self._fleet.find_container(lease.container)
        if container and container.state is ContainerState.LEASED:
            self._fleet.put_container(replace(container, state=ContainerState.IDLE, since_s=self._clock()))
            self._containers.unlease(container.id)
