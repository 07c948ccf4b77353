"""Between messages and values."""

from collections.abc import Mapping

from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.hostagent.v1 import hostagent_pb2
from stoker_protos.scheduler.v1 import hosts_pb2
from stoker_protos.v1 import invocations_pb2, versions_pb2

from stoker_hostagent.containers import Container, ContainerState, Start
from stoker_hostagent.guest_messages import Failure
from stoker_hostagent.leases import Lease
from stoker_hostagent.runs import Finished, NotRun, Order
from stoker_hostagent.versions import Layer, Proof, Version
from stoker_hostagent.vm import Shape, Vm, VmState

_RUNTIMES = {versions_pb2.RUNTIME_PYTHON3: "python3", versions_pb2.RUNTIME_NODEJS: "nodejs"}
_RUNTIME_NUMBERS = {name: number for number, name in _RUNTIMES.items()}

_VM_STATES = {
    VmState.CREATING: hosts_pb2.VM_STATE_CREATING,
    VmState.WARMING: hosts_pb2.VM_STATE_WARMING,
    VmState.ASSIGNING: hosts_pb2.VM_STATE_ASSIGNING,
    VmState.ACTIVE: hosts_pb2.VM_STATE_ACTIVE,
    VmState.ENDING: hosts_pb2.VM_STATE_ENDING,
}

_CONTAINER_STATES = {
    ContainerState.CREATING: hosts_pb2.CONTAINER_STATE_CREATING,
    ContainerState.LOADED: hosts_pb2.CONTAINER_STATE_LOADED,
    ContainerState.ENDING: hosts_pb2.CONTAINER_STATE_ENDING,
}


def version_from_spec(spec: codestore_pb2.VersionSpec) -> Version:
    """The value of a version's message, which has been validated."""
    return Version(
        uid=spec.uid,
        tenant=spec.tenant,
        function=spec.function,
        number=spec.number,
        artifact_sha256=spec.artifact_sha256,
        artifact_size_bytes=spec.artifact_size_bytes,
        runtime=_RUNTIMES[spec.runtime],
        handler=spec.handler,
        memory_mib=spec.memory_mib,
        timeout_s=spec.timeout_s,
        tmp_mib=spec.tmp_mib,
        environment=dict(spec.environment),
        concurrency=spec.concurrency or 1,
        layers=tuple(Layer(layer.artifact_sha256, layer.artifact_size_bytes) for layer in spec.layers),
        proof=Proof(spec.proof.signature, spec.proof.public_key, spec.proof.is_required)
        if spec.HasField("proof")
        else None,
    )


def spec_from_version(version: Version) -> codestore_pb2.VersionSpec:
    """The message of a version."""
    return codestore_pb2.VersionSpec(
        uid=version.uid,
        tenant=version.tenant,
        function=version.function,
        number=version.number,
        artifact_sha256=version.artifact_sha256,
        artifact_size_bytes=version.artifact_size_bytes,
        runtime=_RUNTIME_NUMBERS[version.runtime],
        handler=version.handler,
        memory_mib=version.memory_mib,
        timeout_s=version.timeout_s,
        tmp_mib=version.tmp_mib,
        environment=version.environment,
        concurrency=version.concurrency,
        layers=[
            codestore_pb2.LayerSpec(
                artifact_sha256=layer.artifact_sha256, artifact_size_bytes=layer.artifact_size_bytes
            )
            for layer in version.layers
        ],
        proof=codestore_pb2.CodeProof(
            signature=version.proof.signature,
            public_key=version.proof.public_key,
            is_required=version.proof.is_required,
        )
        if version.proof
        else None,
    )


def lease_from(lease_id: str, holder: str) -> Lease | None:
    """The lease that a command names; None where its id is empty."""
    return Lease(lease_id, holder) if lease_id else None


def shape_from_proto(shape: hosts_pb2.Shape) -> Shape:
    """The value of a shape's message."""
    return Shape(shape.vcpus, shape.memory_mib)


def start_to_proto(start: Start | None) -> invocations_pb2.StartKind.ValueType:
    """The number of how a container came to have its code."""
    match start:
        case Start.PRIMED:
            return invocations_pb2.START_KIND_PRIMED
        case Start.COLD:
            return invocations_pb2.START_KIND_COLD
        case None:
            return invocations_pb2.START_KIND_UNSPECIFIED


def vm_to_proto(vm: Vm, blanks: Mapping[str, int]) -> hosts_pb2.VmStatus:
    """The message of a VM with so many blank containers of each runtime."""
    return hosts_pb2.VmStatus(
        vm=vm.id,
        shape=hosts_pb2.Shape(vcpus=vm.shape.vcpus, memory_mib=vm.shape.memory_mib),
        state=_VM_STATES[vm.state],
        tenant=vm.tenant,
        container_memory_mib=vm.container_memory_mib,
        blanks=[
            hosts_pb2.BlankContainers(runtime=_RUNTIME_NUMBERS[runtime], count=count)
            for runtime, count in sorted(blanks.items())
            if runtime in _RUNTIME_NUMBERS
        ],
    )


def container_to_proto(container: Container) -> hosts_pb2.ContainerStatus:
    """The message of a container."""
    lease = container.lease
    return hosts_pb2.ContainerStatus(
        container=container.id,
        vm=container.vm,
        spec=spec_from_version(container.version),
        state=_CONTAINER_STATES[container.state],
        lease_id=lease.id if lease else "",
        holder=lease.holder if lease else "",
    )


def failure_to_proto(failure: Failure) -> invocations_pb2.FunctionError:
    """The message of a function's failure."""
    return invocations_pb2.FunctionError(
        kind=invocations_pb2.FunctionErrorKind.ValueType(failure.kind),
        type=failure.type,
        message=failure.message,
        stack_trace=failure.stack_trace,
    )


def order_from_proto(start: hostagent_pb2.Start) -> Order:
    """The value of a frontend's order."""
    return Order(
        lease_id=start.lease_id,
        container=start.container,
        invocation_id=start.invocation_id,
        timeout_ms=start.timeout_ms,
        payload=start.payload,
        content_type=start.content_type,
        log_tail=start.log_tail,
        traceparent=start.traceparent,
    )


def outcome_to_proto(call_id: int, outcome: Finished | NotRun) -> hostagent_pb2.ConnectResponse:
    """The message that tells a frontend how a call ended."""
    if isinstance(outcome, NotRun):
        failed = hostagent_pb2.Failed(reason=outcome.reason, message=outcome.message)
        return hostagent_pb2.ConnectResponse(call_id=call_id, failed=failed)
    finished = hostagent_pb2.Finished(
        payload=outcome.payload,
        content_type=outcome.content_type,
        function_error=failure_to_proto(outcome.failure) if outcome.failure else None,
        run_ms=outcome.run_ms,
        log_tail=outcome.log_tail,
        container_lost=outcome.is_container_lost,
    )
    return hostagent_pb2.ConnectResponse(call_id=call_id, finished=finished)
