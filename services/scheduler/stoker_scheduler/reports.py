"""What host agents report, and what the fleet learns from it. The host is the truth.

With one exception: while a command about a container is under way, what the host says of its lease may be from before
the command, so the command's result tells. A report and a result arrive in the order in which they were sent.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

import structlog

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.leases import Lease, LeaseTable
from stoker_scheduler.machines import Blanks, Container, ContainerState, Host, Shape, Version, Vm, VmState

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class VmReport:
    """A VM has appeared or changed."""

    vm: str
    shape: Shape
    state: VmState
    tenant: str
    container_memory_mib: int
    """0 where it is not known yet."""
    blanks: Blanks = ()


@dataclass(frozen=True, slots=True)
class VmGone:
    """A VM is no more, nor are its containers."""

    vm: str
    reason: str


class LoadState(IntEnum):
    """How far a container is, as its host sees it. The values are those of `stoker.scheduler.v1.ContainerState`."""

    CREATING = 1
    LOADED = 2
    ENDING = 3


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """A container has appeared or changed."""

    container: str
    vm: str
    version: Version
    state: LoadState
    lease_id: str
    holder: str


@dataclass(frozen=True, slots=True)
class ContainerGone:
    """A container is no more."""

    container: str
    reason: str


@dataclass(frozen=True, slots=True)
class HolderGone:
    """A frontend is no more, as far as this host can see."""

    holder: str


Report = VmReport | VmGone | ContainerReport | ContainerGone | HolderGone


def subject_of_report(report: Report) -> str:
    """The VM, container or holder that a report is about."""
    match report:
        case VmReport(vm) | VmGone(vm):
            return vm
        case ContainerReport(container) | ContainerGone(container):
            return container
        case HolderGone(holder):
            return holder


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a host has."""

    host: Host
    vms: tuple[VmReport, ...] = ()
    containers: tuple[ContainerReport, ...] = ()


class CommandedContainers(Protocol):
    """What is told of containers, as their hosts are commanded."""

    def unlease(self, container: str) -> None:
        """Tells a container's host that it is under no lease."""
        ...

    def note_gone(self, container: str) -> bool:
        """Notes that a container is gone; returns whether the fleet is to keep it until its host says why."""
        ...


class Reports:
    """Brings the fleet and the leases into line with what hosts report."""

    def __init__(self, fleet: Fleet, leases: LeaseTable, containers: CommandedContainers) -> None:
        self._fleet = fleet
        self._leases = leases
        self._containers = containers

    def host_joined(self, snapshot: Snapshot, now_s: float) -> None:
        """Adds a host that is not there, with all it has, and takes over the leases that its containers are under."""
        self._fleet.add_host(snapshot.host)
        for vm in snapshot.vms:
            self._vm(snapshot.host.id, vm, now_s)
        for container in snapshot.containers:
            self._container(snapshot.host.id, container, now_s)
        log.info(
            "host.joined",
            host=snapshot.host.id,
            address=snapshot.host.address,
            accelerator=snapshot.host.accelerator,
            vms=len(snapshot.vms),
            containers=len(snapshot.containers),
        )

    def host_lost(self, host: str, now_s: float) -> None:
        """Forgets a host and ends its leases."""
        ended = self._leases.end_of_host(host)
        self._fleet.remove_host(host, now_s)
        log.warning("host.lost", host=host, leases=len(ended))

    def reported(self, host: str, report: Report, now_s: float, *, is_commanded: bool) -> None:
        """Takes in a change.

        Args:
            host: Whose report it is.
            report: The report.
            now_s: The time.
            is_commanded: Whether a command about the same VM or container is under way.
        """
        match report:
            case VmReport():
                self._vm(host, report, now_s)
            case VmGone():
                self._vm_gone(report, now_s)
            case ContainerReport():
                if not is_commanded or report.state is LoadState.ENDING:
                    self._container(host, report, now_s)
            case ContainerGone():
                self._container_gone(report, now_s)
            case HolderGone(holder):
                for lease in self._leases.end_of_holder(host, holder):
                    self._become_idle(lease, now_s)

    def _vm(self, host: str, report: VmReport, now_s: float) -> None:
        known = self._fleet.find_vm(report.vm)
        if known and known.host != host:
            log.error("report.contradicts", vm=report.vm, host=host, known_on=known.host)
            return
        if report.container_memory_mib:
            self._fleet.learn(report.shape, report.container_memory_mib)
        vm = Vm(
            report.vm,
            host,
            report.shape,
            report.state,
            report.container_memory_mib or self._fleet.container_memory_mib(report.shape),
            # A VM is meant for a tenant before its host knows.
            report.tenant or (known.tenant if known else ""),
            known.since_s if known and known.state is report.state else now_s,
            report.blanks,
        )
        if report.state is VmState.ENDING:
            self._end_leases_in(report.vm)
            self._fleet.put_vm(vm)
            self._fleet.end_vm(vm.id, now_s)
        elif known is None or known.state is not VmState.ENDING:
            if known and known.tenant not in ("", vm.tenant):
                self._evict_strangers(vm, now_s)
            self._fleet.put_vm(vm)

    def _evict_strangers(self, vm: Vm, now_s: float) -> None:
        """Forgets what is meant for a VM that turns out to be another tenant's."""
        log.error("report.contradicts", vm=vm.id, host=vm.host, tenant=vm.tenant)
        for container in self._fleet.containers_in(vm.id):
            if container.version.tenant != vm.tenant:
                self._leases.end_of_container(container.id)
                self._fleet.remove_container(container.id, now_s)

    def _vm_gone(self, report: VmGone, now_s: float) -> None:
        if vm := self._fleet.find_vm(report.vm):
            self._end_leases_in(report.vm)
            self._fleet.remove_vm(report.vm, now_s)
            log.info("vm.gone", vm=report.vm, host=vm.host, tenant=vm.tenant, reason=report.reason)

    def _container(self, host: str, report: ContainerReport, now_s: float) -> None:
        known = self._fleet.find_container(report.container)
        vm = self._fleet.find_vm(report.vm)
        if vm is None or vm.host != host or (known and known.vm != report.vm):
            log.error("report.contradicts", container=report.container, vm=report.vm, host=host)
            return
        was_creating = known is not None and known.state is ContainerState.CREATING
        container = known or Container(report.container, report.vm, report.version, ContainerState.CREATING, now_s)
        match report.state:
            case LoadState.CREATING:
                if known is None:
                    self._fleet.put_container(container)
            case LoadState.ENDING:
                self._leases.end_of_container(container.id)
                self._put(container, ContainerState.ENDING, now_s)
            case LoadState.LOADED if self._is_settled(container):
                # A lease is granted once the code is loaded, so nobody has been told of the one it was made under.
                if report.lease_id and not was_creating:
                    self._take_over(host, report, now_s)
                    self._put(container, ContainerState.LEASED, now_s)
                else:
                    self._leases.end_of_container(container.id)
                    self._put(container, ContainerState.IDLE, now_s)
                    if report.lease_id:
                        self._containers.unlease(container.id)
            case LoadState.LOADED:
                pass

    def _is_settled(self, container: Container) -> bool:
        """Whether the scheduler is not just ending a container or putting it under a lease."""
        match container.state:
            case ContainerState.ENDING:
                return False
            case ContainerState.LEASED:
                return self._leases.of_container(container.id) is not None
            case _:
                return True

    def _take_over(self, host: str, report: ContainerReport, now_s: float) -> None:
        lease = self._leases.of_container(report.container)
        if lease is None or lease.id != report.lease_id:
            self._leases.grant(
                report.lease_id,
                container=report.container,
                host=host,
                holder=report.holder,
                now_s=now_s,
                function=report.version.key,
                concurrency=report.version.concurrency,
            )

    def _put(self, container: Container, state: ContainerState, now_s: float) -> None:
        if self._fleet.find_container(container.id) is None or container.state is not state:
            self._fleet.put_container(replace(container, state=state, since_s=now_s))

    def _container_gone(self, report: ContainerGone, now_s: float) -> None:
        container = self._fleet.find_container(report.container)
        if container and not self._containers.note_gone(container.id):
            self._leases.end_of_container(report.container)
            self._fleet.remove_container(report.container, now_s)
            log.info("container.gone", container=container.id, vm=container.vm, reason=report.reason)

    def _become_idle(self, lease: Lease, now_s: float) -> None:
        container = self._fleet.find_container(lease.container)
        if container and container.state is ContainerState.LEASED:
            self._put(container, ContainerState.IDLE, now_s)

    def _end_leases_in(self, vm: str) -> None:
        for container in self._fleet.containers_in(vm):
            self._leases.end_of_container(container.id)
