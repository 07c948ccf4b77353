"""Protos as the values of `stoker.models`."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.admin.v1 import fleet_pb2, tenants_pb2
from stoker_protos.v1 import (
    aliases_pb2,
    artifacts_pb2,
    concurrency_pb2,
    functions_pb2,
    invocations_pb2,
    logs_pb2,
    versions_pb2,
)

from stoker.models import (
    Alias,
    Artifact,
    Concurrency,
    Container,
    Fleet,
    Function,
    FunctionError,
    FunctionErrorKind,
    Host,
    InvokeResult,
    LogLine,
    Runtime,
    Start,
    Tenant,
    Timings,
    Version,
    Vm,
)
from stoker.names import last_part, part
from stoker.rollovers import RolloverEffect, RolloverRule

RUNTIMES = {Runtime.PYTHON3: versions_pb2.RUNTIME_PYTHON3, Runtime.NODEJS: versions_pb2.RUNTIME_NODEJS}

_RUNTIMES = {number: runtime for runtime, number in RUNTIMES.items()}
_FORMATS = {
    artifacts_pb2.ARTIFACT_FORMAT_ZIP: "zip",
    artifacts_pb2.ARTIFACT_FORMAT_TAR_GZ: "tar.gz",
    artifacts_pb2.ARTIFACT_FORMAT_OCI_IMAGE: "oci-image",
}
_ROLLOVER_RULES = {
    invocations_pb2.RolloverRule.Value(f"ROLLOVER_RULE_{rule.name}"): rule
    for rule in RolloverRule
    if rule is not RolloverRule.UNKNOWN
}
_STARTS = {
    invocations_pb2.START_KIND_COLD: Start.COLD,
    invocations_pb2.START_KIND_PRIMED: Start.PRIMED,
    invocations_pb2.START_KIND_WARM: Start.WARM,
}
_ERROR_KINDS = {
    invocations_pb2.FUNCTION_ERROR_KIND_EXCEPTION: FunctionErrorKind.EXCEPTION,
    invocations_pb2.FUNCTION_ERROR_KIND_TIMEOUT: FunctionErrorKind.TIMEOUT,
    invocations_pb2.FUNCTION_ERROR_KIND_EXIT: FunctionErrorKind.EXIT,
    invocations_pb2.FUNCTION_ERROR_KIND_OUT_OF_MEMORY: FunctionErrorKind.OUT_OF_MEMORY,
    invocations_pb2.FUNCTION_ERROR_KIND_RESPONSE_TOO_LARGE: FunctionErrorKind.RESPONSE_TOO_LARGE,
    invocations_pb2.FUNCTION_ERROR_KIND_LOAD: FunctionErrorKind.LOAD,
}


def time_of(timestamp: Timestamp) -> datetime:
    """A time in UTC."""
    return timestamp.ToDatetime(UTC)


def function_of(message: functions_pb2.Function) -> Function:
    """A function."""
    return Function(
        name=last_part(message.name),
        uid=message.uid,
        description=message.description,
        latest_version=message.latest_version,
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        etag=message.etag,
        versions_kept=message.versions_kept,
    )


def version_of(message: versions_pb2.Version) -> Version:
    """A version."""
    return Version(
        function=part(message.name, 1),
        number=message.number,
        uid=message.uid,
        artifact_sha256=last_part(message.artifact),
        runtime=_RUNTIMES.get(message.runtime, Runtime.UNKNOWN),
        handler=message.handler,
        memory_mib=message.memory_mib,
        timeout_s=message.timeout_s,
        environment=dict(message.environment),
        tmp_mib=message.tmp_mib,
        description=message.description,
        create_time=time_of(message.create_time),
        concurrency=message.concurrency or 1,
        layers=tuple(f"{part(layer, 1)}:{last_part(layer)}" for layer in message.layers),
        signing_key_id=message.signature.key_id,
    )


def alias_of(message: aliases_pb2.Alias) -> Alias:
    """An alias."""
    return Alias(
        function=part(message.name, 1),
        name=last_part(message.name),
        routes={route.version: route.weight for route in message.routes},
        update_time=time_of(message.update_time),
        etag=message.etag,
    )


def concurrency_of(message: concurrency_pb2.Concurrency) -> Concurrency:
    """What is set for a function or an alias, and how things stand."""
    return Concurrency(
        function=part(message.name, 1),
        alias=part(message.name, 3),
        provisioned=message.provisioned,
        maximum=message.maximum,
        loaded=message.loaded if message.HasField("loaded") else None,
        leased=message.leased if message.HasField("leased") else None,
    )


def artifact_of(message: artifacts_pb2.Artifact) -> Artifact:
    """An artifact."""
    return Artifact(
        sha256=last_part(message.name),
        format=_FORMATS.get(message.format, "unknown"),
        size_bytes=message.size_bytes,
        unpacked_size_bytes=message.unpacked_size_bytes,
        file_count=message.file_count,
        create_time=time_of(message.create_time),
    )


def invoke_result_of(message: invocations_pb2.InvokeResponse) -> InvokeResult:
    """What an invocation answered."""
    timings = message.timings
    return InvokeResult(
        payload=message.payload,
        content_type=message.content_type,
        function_error=function_error_of(message.function_error) if message.HasField("function_error") else None,
        executed_version=message.executed_version,
        start=_STARTS.get(message.start, Start.UNKNOWN),
        timings=Timings(timings.queue_ms, timings.init_ms, timings.run_ms, timings.total_ms),
        invocation_id=message.invocation_id,
        container=message.container,
        vm=message.vm,
        host=message.host,
        log_tail=message.log_tail.decode("utf-8", "replace"),
        rollover=_rollover_effect_of(message.rollover) if message.HasField("rollover") else None,
    )


def _rollover_effect_of(message: invocations_pb2.RolloverEffect) -> RolloverEffect:
    return RolloverEffect(message.target_version, rollover_rule_of(message.rule), tuple(message.differing_fields))


def rollover_rule_of(rule: invocations_pb2.RolloverRule.ValueType) -> RolloverRule:
    """The rule of a message's value."""
    return _ROLLOVER_RULES.get(rule, RolloverRule.UNKNOWN)


def function_error_of(message: invocations_pb2.FunctionError) -> FunctionError:
    """How a function failed."""
    return FunctionError(
        kind=_ERROR_KINDS.get(message.kind, FunctionErrorKind.UNKNOWN),
        type=message.type,
        message=message.message,
        stack_trace=tuple(message.stack_trace),
    )


def log_line_of(message: logs_pb2.TailLogsResponse) -> LogLine:
    """A line that a function printed."""
    entry = message.entry
    return LogLine(
        time=time_of(entry.time),
        version=entry.version,
        invocation_id=entry.invocation_id,
        container=entry.container,
        stream=entry.stream,
        line=entry.line,
    )


def tenant_of(message: tenants_pb2.Tenant) -> Tenant:
    """A tenant."""
    return Tenant(message.id, time_of(message.create_time))


def fleet_of(message: fleet_pb2.GetFleetResponse) -> Fleet:
    """All hosts, VMs and containers."""
    return Fleet(
        hosts=tuple(
            Host(host.id, host.address, host.accelerator, host.accelerator_reason, host.memory_mib)
            for host in message.hosts
        ),
        vms=tuple(Vm(vm.id, vm.host, vm.tenant, vm.state, vm.memory_mib) for vm in message.vms),
        containers=tuple(
            Container(
                container.id,
                container.vm,
                container.function,
                container.version,
                container.state,
                container.memory_mib,
            )
            for container in message.containers
        ),
    )
