"""Messages of the scheduler's protos, as values and back."""

from collections.abc import Iterable

from stoker_protos.admin.v1 import fleet_pb2
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import capacity_pb2, hosts_pb2
from stoker_protos.v1 import invocations_pb2

from stoker_scheduler.commands import (
    AssignVm,
    Command,
    CommandFailed,
    CreateContainer,
    CreateVm,
    DestroyContainer,
    DestroyVm,
    Done,
    LoadFailure,
    SetLease,
)
from stoker_scheduler.machines import Container, ContainerState, Host, Shape, Version, Vm, VmState
from stoker_scheduler.reports import (
    ContainerGone,
    ContainerReport,
    HolderGone,
    LoadState,
    Report,
    Snapshot,
    VmGone,
    VmReport,
)


def version_from_proto(spec: codestore_pb2.VersionSpec) -> Version:
    """The value of a message."""
    return Version(
        spec.uid,
        spec.tenant,
        spec.function,
        spec.number,
        spec.artifact_sha256,
        spec.memory_mib,
        spec.SerializeToString(),
        runtime=spec.runtime,
        concurrency=spec.concurrency or 1,
        timeout_s=spec.timeout_s,
    )


def snapshot_from_proto(snapshot: hosts_pb2.HostSnapshot) -> Snapshot:
    """The value of a message."""
    return Snapshot(
        Host(
            snapshot.host,
            snapshot.address,
            snapshot.memory_mib,
            snapshot.vcpus,
            snapshot.accelerator,
            snapshot.accelerator_reason,
        ),
        tuple(_vm_report(vm) for vm in snapshot.vms if vm.state),
        tuple(_container_report(container) for container in snapshot.containers if container.state),
    )


def report_from_proto(request: hosts_pb2.ConnectRequest) -> Report | None:
    """The value of a report of a change; None for one of a state that this scheduler does not know."""
    match request.WhichOneof("report"):
        case "vm" if request.vm.state:
            return _vm_report(request.vm)
        case "vm_gone":
            return VmGone(request.vm_gone.vm, request.vm_gone.reason)
        case "container" if request.container.state:
            return _container_report(request.container)
        case "container_gone":
            return ContainerGone(request.container_gone.container, request.container_gone.reason)
        case "holder_gone":
            return HolderGone(request.holder_gone.holder)
        case _:
            return None


def result_from_proto(result: hosts_pb2.CommandResult) -> Done | LoadFailure | CommandFailed:
    """The value of a message."""
    if result.HasField("load_error"):
        error = result.load_error
        return LoadFailure(error.kind, error.type, error.message, tuple(error.stack_trace), result.init_ms)
    if result.error_reason:
        return CommandFailed(result.error_reason, result.error_message or result.error_reason)
    return Done(result.init_ms, result.start == invocations_pb2.START_KIND_PRIMED, result.is_clone)


def command_to_proto(command_id: str, command: Command, traceparent: str) -> hosts_pb2.ConnectResponse:
    """The message of a value, with the trace that it is part of."""
    message = hosts_pb2.ConnectResponse(command_id=command_id, traceparent=traceparent)
    match command:
        case CreateVm(vm, shape):
            message.create_vm.vm = vm
            message.create_vm.shape.vcpus, message.create_vm.shape.memory_mib = shape.vcpus, shape.memory_mib
        case AssignVm(vm, tenant, first):
            message.assign_vm.vm, message.assign_vm.tenant = vm, tenant
            if first is not None:
                message.assign_vm.first.ParseFromString(first.spec)
        case DestroyVm(vm):
            message.destroy_vm.vm = vm
        case CreateContainer(container, vm, version, lease_id, holder, is_in_background):
            message.create_container.container, message.create_container.vm = container, vm
            message.create_container.spec.ParseFromString(version.spec)
            message.create_container.lease_id, message.create_container.holder = lease_id, holder
            message.create_container.in_background = is_in_background
        case DestroyContainer(container):
            message.destroy_container.container = container
        case SetLease(container, lease_id, holder):
            message.set_lease.container = container
            message.set_lease.lease_id, message.set_lease.holder = lease_id, holder
    return message


def failure_to_proto(failure: LoadFailure) -> invocations_pb2.FunctionError:
    """The message of a value."""
    return invocations_pb2.FunctionError(
        kind=invocations_pb2.FunctionErrorKind.ValueType(failure.kind),
        type=failure.type,
        message=failure.message,
        stack_trace=failure.stack_trace,
    )


def usage_to_proto(containers: Iterable[Container], waiting: int) -> capacity_pb2.GetUsageResponse:
    """The containers of one function, counted by version, and how many demands of it wait."""
    usage: dict[int, capacity_pb2.GetUsageResponse.VersionUsage] = {}
    for container in containers:
        number = container.version.number
        of_version = usage.setdefault(number, capacity_pb2.GetUsageResponse.VersionUsage(version=number))
        match container.state:
            case ContainerState.CREATING:
                of_version.creating += 1
            case ContainerState.IDLE:
                of_version.loaded += 1
            case ContainerState.LEASED:
                of_version.loaded += 1
                of_version.leased += 1
            case ContainerState.ENDING:
                pass
    return capacity_pb2.GetUsageResponse(versions=[usage[number] for number in sorted(usage)], waiting=waiting)


def listed_host(host: Host) -> capacity_pb2.ListHostsResponse.Host:
    """A host, for frontends."""
    return capacity_pb2.ListHostsResponse.Host(id=host.id, address=host.address)


def host_to_proto(host: Host) -> fleet_pb2.Host:
    """A host, for operators."""
    return fleet_pb2.Host(
        id=host.id,
        address=host.address,
        accelerator=host.accelerator,
        accelerator_reason=host.accelerator_reason,
        memory_mib=host.memory_mib,
    )


def vm_to_proto(vm: Vm) -> fleet_pb2.Vm:
    """A VM, for operators."""
    return fleet_pb2.Vm(
        id=vm.id, host=vm.host, tenant=vm.tenant, state=vm.state.name.lower(), memory_mib=vm.shape.memory_mib
    )


def container_to_proto(container: Container) -> fleet_pb2.Container:
    """A container, for operators."""
    return fleet_pb2.Container(
        id=container.id,
        vm=container.vm,
        function=container.version.function,
        version=container.version.number,
        state=container.state.value,
        memory_mib=container.version.memory_mib,
    )


def _vm_report(status: hosts_pb2.VmStatus) -> VmReport:
    return VmReport(
        status.vm,
        Shape(status.shape.vcpus, status.shape.memory_mib),
        VmState(status.state),
        status.tenant,
        status.container_memory_mib,
        tuple((blank.runtime, blank.count) for blank in status.blanks),
    )


def _container_report(status: hosts_pb2.ContainerStatus) -> ContainerReport:
    return ContainerReport(
        status.container,
        status.vm,
        version_from_proto(status.spec),
        LoadState(status.state),
        status.lease_id,
        status.holder,
    )
