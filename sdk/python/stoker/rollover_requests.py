"""The calls of rollovers, as values."""

from datetime import UTC, datetime

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.v1 import aliases_pb2, functions_pb2, invocations_pb2, rollovers_pb2

from stoker import wire
from stoker.calls import Unary, UnaryOf
from stoker.errors import InvalidArgument
from stoker.models import Function
from stoker.names import alias_path, function_path
from stoker.retries import Retry
from stoker.rollovers import LoadFailure, PreviousVersion, Rollover, RolloverPolicy, RolloverTarget

_POLICIES = {
    RolloverPolicy.SERVE_PREVIOUS: functions_pb2.ROLLOVER_POLICY_SERVE_PREVIOUS,
    RolloverPolicy.WAIT_FOR_NEW: functions_pb2.ROLLOVER_POLICY_WAIT_FOR_NEW,
}
_POLICY_OF = {message: policy for policy, message in _POLICIES.items()}


def get_rollover(function: str, alias: str) -> UnaryOf[Rollover]:
    """Tells which version answers for an alias now, and why."""
    return Unary(
        lambda stubs: stubs.rollovers.GetRollover,
        rollovers_pb2.GetRolloverRequest(name=alias_path(function, alias)),
        lambda response: _rollover_of(response.rollover),
        Retry.WHEN_UNAVAILABLE,
    )


def set_rollover(function: str, policy: RolloverPolicy | str | None, max_staleness_s: int | None) -> UnaryOf[Function]:
    """Sets what answers while a new version is loaded; None leaves a setting as it is."""
    message = functions_pb2.Function(name=function_path(function))
    paths: list[str] = []
    if policy is not None:
        if policy not in _POLICIES:
            known = ", ".join(_POLICIES)
            raise InvalidArgument(
                "INVALID_POLICY", f"policy: {str(policy)!r} is none; there are {known}", field="policy"
            )
        message.rollover_policy = _POLICIES[RolloverPolicy(policy)]
        paths.append("rollover_policy")
    if max_staleness_s is not None:
        message.max_staleness_s = max_staleness_s
        paths.append("max_staleness_s")
    return Unary(
        lambda stubs: stubs.functions.UpdateFunction,
        functions_pb2.UpdateFunctionRequest(function=message, update_mask=FieldMask(paths=paths)),
        lambda response: wire.function_of(response.function),
        Retry.WHEN_UNAVAILABLE,
    )


def _rollover_of(message: rollovers_pb2.Rollover) -> Rollover:
    _, function, _, alias = message.name.split("/")
    return Rollover(
        function=function,
        alias=alias,
        targets=[
            RolloverTarget(each.version, each.weight, each.loaded, each.answering_version) for each in message.targets
        ],
        previous=[
            PreviousVersion(
                each.version,
                each.loaded,
                each.remaining_s,
                wire.rollover_rule_of(each.rule) if each.rule != invocations_pb2.ROLLOVER_RULE_UNSPECIFIED else None,
                tuple(each.differing_fields),
            )
            for each in message.previous
        ],
        policy=_POLICY_OF.get(message.policy, RolloverPolicy.UNKNOWN),
        max_staleness_s=message.max_staleness_s,
        load_failure=_load_failure_of(message.load_failure) if message.HasField("load_failure") else None,
        is_usage_known=message.is_usage_known,
    )


def _load_failure_of(message: aliases_pb2.LoadFailure) -> LoadFailure:
    return LoadFailure(
        message.version,
        wire.function_error_of(message.error),
        message.failures,
        _time(message.time),
        _time(message.retry_time),
    )


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)
