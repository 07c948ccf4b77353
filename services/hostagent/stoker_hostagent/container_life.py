"""How containers come into being, end, and are found again after a restart."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent import errors, labels, shares, tracing
from stoker_hostagent.activity import Activity
from stoker_hostagent.blanks import BlankGuest, Blanks, is_blank
from stoker_hostagent.code_cache import CodeCache
from stoker_hostagent.code_trust import CodeTrust
from stoker_hostagent.code_uses import fetch_ahead, uses_of
from stoker_hostagent.containers import Container, ContainerGoneReason, Containers, ContainerState, Start
from stoker_hostagent.guest_messages import Code, Failure, FunctionIdentity, Invocation, InvokeResult, Loaded
from stoker_hostagent.leases import Lease
from stoker_hostagent.versions import Version
from stoker_hostagent.vm import Vm, VmState

log = structlog.get_logger()

DESTROY_ATTEMPTS = 6
DESTROY_AGAIN_S = 0.5
"""How long after a container could not be destroyed it is tried again, in seconds; twice as long each time."""


class ContainerGuest(BlankGuest, Protocol):
    """A VM's guest agent, as far as containers need it. `guest.Guest` says how each call behaves."""

    async def load_code(self, container: str, code: Code) -> Loaded:
        """Loads code into a blank container."""
        ...

    async def invoke(self, invocation: Invocation) -> InvokeResult:
        """Runs an invocation in a loaded container."""
        ...


class Machines(Protocol):
    """The VMs, as far as containers need them. `virtual_machines.VirtualMachines` says how each call behaves."""

    def all(self) -> Sequence[Vm]:
        """All VMs at this moment."""
        ...

    def guest(self, vm_id: str) -> ContainerGuest:
        """The guest agent of a VM."""
        ...

    async def destroy(self, vm_id: str) -> None:
        """Destroys a VM."""
        ...


@dataclass(frozen=True, slots=True)
class Created:
    """How the making of a container ended."""

    init_ms: float
    """How long making it and loading the code took, in milliseconds; 0 where it was there already."""
    start: Start | None = None
    """None where it was there already."""
    load_failure: Failure | None = None
    """Set when the function's own code failed to load; there is no container then."""


class ContainerLife:
    """Makes, destroys and adopts containers."""

    def __init__(
        self,
        containers: Containers,
        machines: Machines,
        code: CodeCache,
        blanks: Blanks,
        activity: Activity,
        background: Background,
        *,
        trust: CodeTrust,
        load_s: float,
    ) -> None:
        """Begins with nothing under way.

        Args:
            containers: The book.
            machines: The VMs to make containers in.
            code: What they run.
            blanks: Those that wait for code.
            activity: Told of what is under way.
            background: What owns the destroying.
            trust: Judges what may be loaded at all.
            load_s: How long loading code may take, in seconds.
        """
        self._containers = containers
        self._machines = machines
        self._code = code
        self._blanks = blanks
        self._activity = activity
        self._background = background
        self._trust = trust
        self._load_s = load_s
        self._ends: dict[str, asyncio.Task[None]] = {}

    async def create(
        self, container_id: str, vm_id: str, version: Version, lease: Lease | None, *, is_in_background: bool = False
    ) -> Created:
        """Gives a version a container in a VM of its tenant: a blank one that gets the code, else a new one.

        A container of that id that is there and has the version loaded will do. One that is made in the background
        leaves the processor to others until it gets its code.

        Raises:
            StokerError: CONTAINER_EXISTS, VM_NOT_OF_TENANT, CONTAINER_LOST, the code cache's or the guest's; nothing
                is left of the container then, unless it was there before.
        """
        existing = self._containers.find(container_id)
        if existing is not None:
            if (existing.vm, existing.version.uid, existing.state) != (vm_id, version.uid, ContainerState.LOADED):
                raise errors.container_exists(container_id)
            self._containers.set_lease(container_id, lease)
            return Created(0.0)
        if not any(_is_ready_for(vm, vm_id, version.tenant) for vm in self._machines.all()):
            raise errors.wrong_tenant(vm_id, version.tenant)
        if failure := await self._trust.objection_to(version):
            log.warning(
                "container.not_trusted", vm=vm_id, tenant=version.tenant, version=version.uid, why=failure.message
            )
            return Created(0.0, load_failure=failure)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        self._containers.add(Container(container_id, vm_id, version, ContainerState.CREATING, lease))
        is_made = False
        try:
            with self._activity.under_way(vm_id, is_making=True):
                start, failure = await self._make(container_id, vm_id, version, is_in_background=is_in_background)
            if failure is None:
                self._containers.set_state(container_id, ContainerState.LOADED)
            else:
                self._containers.remove(container_id, ContainerGoneReason.DESTROYED)
            is_made = True
        finally:
            if not is_made:
                self.destroy_soon(container_id)
        init_ms = (loop.time() - begun_s) * 1000
        log.info(
            "container.created" if failure is None else "container.load_failed",
            container=container_id,
            vm=vm_id,
            tenant=version.tenant,
            function=version.function,
            version=version.number,
            start=start.value,
            init_ms=round(init_ms, 1),
        )
        return Created(init_ms, start, failure)

    async def _make(
        self, container_id: str, vm_id: str, version: Version, *, is_in_background: bool
    ) -> tuple[Start, Failure | None]:
        blank = await self._blanks.take(vm_id, version.runtime)
        if blank is None:
            creating = self._create_blank(container_id, vm_id, version, is_in_background=is_in_background)
            await _all(self._hold(container_id, version), creating)
            return Start.COLD, await self._load(container_id, container_id, vm_id, version)
        try:
            await self._hold(container_id, version)
            return Start.PRIMED, await self._load(blank, container_id, vm_id, version)
        except BaseException:
            self._blanks.discard(vm_id, blank)
            raise

    async def _hold(self, container_id: str, version: Version) -> None:
        with tracing.span("code.hold"):
            await _all(*(self._code.hold(user, artifact) for user, artifact in uses_of(container_id, version)))

    async def _create_blank(self, container_id: str, vm_id: str, version: Version, *, is_in_background: bool) -> None:
        with tracing.span("guest.create_container"):
            guest = self._machines.guest(vm_id)
            await guest.create_container(
                container_id,
                version.runtime,
                version.memory_mib,
                version.tmp_mib,
                is_in_background=is_in_background,
            )

    async def _load(self, blank: str, container_id: str, vm_id: str, version: Version) -> Failure | None:
        identity = FunctionIdentity(version.tenant, version.function, version.number, version.memory_mib)
        code = Code(
            share=shares.CODE,
            path=version.artifact_sha256,
            handler=version.handler,
            environment=version.environment,
            timeout_ms=round(self._load_s * 1000),
            identity=identity,
            label=labels.label_of(version),
            name=container_id,
            memory_mib=version.memory_mib,
            tmp_mib=version.tmp_mib,
            concurrency=version.concurrency,
            layers=tuple(layer.artifact_sha256 for layer in version.layers),
        )
        with tracing.span("guest.load"):
            loaded = await self._machines.guest(vm_id).load_code(blank, code)
            tracing.add_guest_spans(loaded.spans)
        return loaded.failure

    def fetch_ahead(self, version: Version) -> None:
        """Begins to bring a version's code to this host, where a container is about to be asked for."""
        self._background.start(self._fetch_ahead(version), f"fetch ahead {version.uid}")

    async def _fetch_ahead(self, version: Version) -> None:
        if not await self._trust.objection_to(version):
            await fetch_ahead(self._code, version)

    async def destroy(self, container_id: str) -> None:
        """Destroys a container, and returns when it is gone. An unknown one is no error."""
        if ending := self.destroy_soon(container_id):
            await asyncio.shield(ending)

    def destroy_soon(
        self, container_id: str, reason: ContainerGoneReason = ContainerGoneReason.DESTROYED
    ) -> asyncio.Task[None] | None:
        """Begins to destroy a container; returns the task that does, or None where there is no such container."""
        ending = self._ends.get(container_id)
        if ending is None and (container := self._containers.find(container_id)):
            self._containers.set_state(container_id, ContainerState.ENDING)
            ending = self._background.start(self._end(container, reason), f"destroy {container_id}")
            self._ends[container_id] = ending
            ending.add_done_callback(lambda _: self._ends.pop(container_id, None))
        return ending

    async def _end(self, container: Container, reason: ContainerGoneReason) -> None:
        """Destroys a container, or the VM whose guest cannot."""
        for attempt in range(DESTROY_ATTEMPTS):
            if self._containers.find(container.id) is None:
                return
            try:
                await self._machines.guest(container.vm).destroy_container(container.id)
            except StokerError as error:
                log.warning("container.not_destroyed", container=container.id, attempt=attempt, reason=error.reason)
            else:
                self._containers.remove(container.id, reason)
                return
            await asyncio.sleep(DESTROY_AGAIN_S * 2**attempt)
        await self._destroy_vm(container.vm, f"its guest could not destroy container {container.id}")

    async def adopt(self, leases: Mapping[str, Lease]) -> None:
        """Finds the containers that an earlier run left, and destroys those that are not ready for invocations.

        Args:
            leases: The leases that they were under.
        """
        async with asyncio.TaskGroup() as group:
            for vm in self._machines.all():
                if vm.state in (VmState.WARMING, VmState.ACTIVE):
                    group.create_task(self._adopt_vm(vm, leases))

    async def _adopt_vm(self, vm: Vm, leases: Mapping[str, Lease]) -> None:
        try:
            guest = self._machines.guest(vm.id)
            listed = await guest.list_containers()
            self._blanks.adopt(vm.id, listed)
            for found in listed:
                if is_blank(found):
                    continue
                version = labels.version_from(found.label) if found.is_loaded else None
                if version is None or version.tenant != vm.tenant or self._containers.find(found.id):
                    await guest.destroy_container(found.id)
                    continue
                for user, artifact in uses_of(found.id, version):
                    self._code.use(user, artifact)
                adopted = Container(found.id, vm.id, version, ContainerState.LOADED)
                self._containers.add(adopted, leases.get(found.id))
                log.info("container.adopted", container=found.id, vm=vm.id, function=version.function)
        except StokerError as error:
            await self._destroy_vm(vm.id, f"its containers could not be adopted: {error}")

    async def _destroy_vm(self, vm_id: str, why: str) -> None:
        log.error("vm.unusable", vm=vm_id, why=why)
        try:
            await self._machines.destroy(vm_id)
        except StokerError as error:
            # It is marked as ending, and goes when the hypervisor is back.
            log.warning("vm.not_destroyed", vm=vm_id, reason=error.reason)


def _is_ready_for(vm: Vm, vm_id: str, tenant: str) -> bool:
    return vm.id == vm_id and vm.state is VmState.ACTIVE and vm.tenant == tenant


async def _all(*doing: Coroutine[Any, Any, None]) -> None:
    """Does things at the same time; where one fails the others are cancelled, and the error raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in doing:
                group.create_task(each)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
