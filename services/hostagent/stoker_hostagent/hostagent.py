"""The host agent, put together from its parts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import grpc.aio
import structlog
from stoker_protos.hostagent.v1 import chunks_pb2, chunks_pb2_grpc, hostagent_pb2, hostagent_pb2_grpc
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_service.background import background
from stoker_service.channels import open_channel
from stoker_service.errors import StokerError
from stoker_service.server import Server, running_server

from stoker_hostagent import blank_rules
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.activity import Activity
from stoker_hostagent.blanks import Blanks, prepare_template
from stoker_hostagent.chunk_service import ChunkServicer
from stoker_hostagent.chunk_store import ChunkStore
from stoker_hostagent.code_cache import CodeCache
from stoker_hostagent.code_source import CodeSource
from stoker_hostagent.code_trust import CodeTrust
from stoker_hostagent.codestore import Codestore
from stoker_hostagent.commands import CommandedMachines, Commands
from stoker_hostagent.config import HostAgentSettings
from stoker_hostagent.container_life import ContainerLife, Machines
from stoker_hostagent.containers import Containers
from stoker_hostagent.delivery_stream import DeliveryStream
from stoker_hostagent.fleet_stream import FleetStream
from stoker_hostagent.frontend_streams import FrontendStreams
from stoker_hostagent.host_events import ContainerEvents, VmEvents
from stoker_hostagent.invocations import Invocations
from stoker_hostagent.leases import LeaseFile
from stoker_hostagent.log_store import LogStore
from stoker_hostagent.reports import Reports
from stoker_hostagent.service import HostLogServicer, InvocationServicer
from stoker_hostagent.template_making import Preparation
from stoker_hostagent.virtual_machines import VirtualMachines
from stoker_hostagent.vm import Shape, Vm, VmListener, VmSettings
from stoker_hostagent.vm_assembly import running_virtual_machines
from stoker_hostagent.wire import container_to_proto, vm_to_proto

log = structlog.get_logger()

MIB = 1024 * 1024
MAX_UNSENT_REPORTS = 10_000
HYPERVISOR_AGAIN_S = 1.0
"""How often a hypervisor that is away at start-up is tried, in seconds."""
SERVICES = [
    service.full_name
    for file in (hostagent_pb2.DESCRIPTOR, chunks_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
]


class HostMachines(Machines, CommandedMachines, Protocol):
    """All VMs of this host. `virtual_machines.VirtualMachines` says how each call behaves."""

    @property
    def accelerator(self) -> Accelerator:
        """What runs the VMs, and why."""
        ...

    async def adopt(self, listener: VmListener) -> Sequence[Vm]:
        """Takes over the VMs that an earlier host agent left."""
        ...


def vm_settings(settings: HostAgentSettings) -> VmSettings:
    """What the layer of virtual machines is told."""
    return VmSettings(
        host_id=settings.host,
        state_dir=settings.state_dir,
        images_dir=settings.images_dir,
        libvirt_uri=settings.libvirt_uri,
        accelerator=settings.accelerator,
        template_shapes=tuple(
            Shape(*map(int, shape.split("x"))) for shape in settings.template_shapes.split(",") if shape
        ),
        templates_mib=settings.templates_mib,
    )


def preparation(settings: HostAgentSettings) -> Preparation:
    """What is done to a template's guest before it is saved: blank containers are made in it."""
    per_runtime = settings.blank_containers
    recipe = f"{per_runtime} blank containers of {blank_rules.MEMORY_MIB} MiB with {blank_rules.TMP_MIB} MiB of /tmp"
    return Preparation(recipe, lambda guest: prepare_template(guest, per_runtime))


@asynccontextmanager
async def running_hostagent(settings: HostAgentSettings) -> AsyncGenerator[Server]:
    """Runs the host agent for as long as the context is entered. Leaving it leaves the VMs running.

    Raises:
        StokerError: IMAGE_MISSING, HOST_AGENT_RUNNING, STATE_DIR_INVALID.
        AddressInUse: The address cannot be listened on.
    """
    async with AsyncExitStack() as stack:
        machines = await _enter_machines(stack, settings)
        yield await stack.enter_async_context(serving(settings, machines))


async def _enter_machines(stack: AsyncExitStack, settings: HostAgentSettings) -> VirtualMachines:
    while True:
        try:
            return await stack.enter_async_context(
                running_virtual_machines(vm_settings(settings), preparation(settings))
            )
        except StokerError as error:
            if error.reason != "HYPERVISOR_UNAVAILABLE":
                raise
            log.warning("hypervisor.awaited", message=error.message)
        await asyncio.sleep(HYPERVISOR_AGAIN_S)


@asynccontextmanager
async def serving(settings: HostAgentSettings, machines: HostMachines) -> AsyncGenerator[Server]:
    """Runs all but the VMs: takes over what is in them, then answers frontends and the scheduler's commands."""
    async with (
        open_channel(settings.codestore_address) as codestore_channel,
        open_channel(settings.scheduler_address) as scheduler_channel,
        background() as tasks,
    ):
        trust = CodeTrust(settings.trusted_keys_dir)
        chunks = ChunkStore(settings.state_dir / "chunks", settings.chunk_store_mib * MIB)
        code = CodeCache(
            settings.state_dir,
            CodeSource(Codestore(codestore_channel, settings.host), chunks, settings.code_fetch_s),
            chunks,
            tasks,
            max_bytes=settings.code_cache_mib * MIB,
            max_fetches=settings.code_fetches,
        )
        logs = LogStore(
            settings.state_dir / "logs",
            max_function_bytes=settings.log_function_mib * MIB,
            max_total_bytes=settings.log_total_mib * MIB,
        )
        leases = LeaseFile(settings.state_dir / "leases.json")
        address = settings.advertised_address

        def snapshot() -> hosts_pb2.HostSnapshot:
            return hosts_pb2.HostSnapshot(
                host=settings.host,
                address=address,
                memory_mib=settings.memory_mib,
                vcpus=settings.vcpus,
                accelerator=machines.accelerator.kind,
                accelerator_reason=machines.accelerator.reason,
                vms=map(vm_status, machines.all()),
                containers=map(container_to_proto, containers.all()),
            )

        def vm_status(vm: Vm) -> hosts_pb2.VmStatus:
            return vm_to_proto(vm, blanks.counts(vm.id))

        def find_vm(vm_id: str) -> Vm | None:
            return next((vm for vm in machines.all() if vm.id == vm_id), None)

        def free_mib(vm_id: str) -> int:
            vm = find_vm(vm_id)
            return vm.container_memory_mib - containers.memory_mib_in(vm_id) if vm else 0

        def blanks_changed(vm_id: str) -> None:
            if vm := find_vm(vm_id):
                reports.vm_changed(vm)

        activity = Activity()
        blanks = Blanks(
            machines.guest, free_mib, blanks_changed, activity, tasks, per_runtime=settings.blank_containers
        )
        reports = Reports(snapshot, vm_status, MAX_UNSENT_REPORTS)
        containers = Containers(ContainerEvents(reports, code, leases, blanks.look_again))
        life = ContainerLife(containers, machines, code, blanks, activity, tasks, trust=trust, load_s=settings.load_s)
        commands = Commands(machines, containers, life, tasks, reports.result)

        def holder_gone(holder: str) -> None:
            containers.end_leases_of(holder)
            reports.holder_gone(holder)

        streams = FrontendStreams(
            Invocations(containers, life, machines.guest, activity),
            tasks,
            holder_gone,
            max_running=settings.max_invocations,
            max_unsent_bytes=settings.max_unsent_mib * MIB,
        )

        def register(server: grpc.aio.Server) -> None:
            hostagent_pb2_grpc.add_InvocationServiceServicer_to_server(InvocationServicer(streams, tasks), server)
            hostagent_pb2_grpc.add_HostLogServiceServicer_to_server(HostLogServicer(logs), server)
            chunks_pb2_grpc.add_ChunkServiceServicer_to_server(ChunkServicer(chunks, settings.max_peer_fetches), server)

        deliveries = DeliveryStream(
            codestore_channel,
            settings.host,
            lambda: address,
            lambda: {vm.tenant for vm in machines.all() if vm.tenant},
            code,
            tasks,
        )
        if not trust.has_own_keys:
            code.listen(deliveries)
        await chunks.open()
        await code.open()
        await logs.open()
        earlier_leases = await leases.read()
        await machines.adopt(VmEvents(reports, containers, blanks, logs))
        await life.adopt(earlier_leases)
        tasks.start(logs.run(), "write logs")
        tasks.start(leases.run(), "write leases")
        async with running_server(settings, register, SERVICES) as server:
            address = address or server.address
            if not trust.has_own_keys:
                # What comes without a version cannot be judged by keys, so it must not come where VMs see it.
                tasks.start(deliveries.report(), "report deliveries")
                tasks.start(deliveries.run(), "watch for deliveries")
            tasks.start(_end_earlier_leases(containers, settings.holder_return_s), "end earlier leases")
            fleet = tasks.start(FleetStream(scheduler_channel, reports, commands.start).run(), "fleet stream")
            try:
                yield server
            finally:
                # First the scheduler forgets this host, so that frontends are sent elsewhere.
                fleet.cancel()
                logs.close()
                await streams.drain(settings.drain_s)
                await leases.write()
                await logs.write()


async def _end_earlier_leases(containers: Containers, after_s: float) -> None:
    await asyncio.sleep(after_s)
    containers.end_earlier_leases()
