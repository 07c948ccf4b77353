"""The message of how an alias stands."""

from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.v1 import aliases_pb2, functions_pb2, invocations_pb2, rollovers_pb2

from stoker_frontend.rollover_status import Before, LoadFailure, RolloverStatus, Target
from stoker_frontend.wire import failure_to_proto


def rollover_to_proto(name: str, status: RolloverStatus) -> rollovers_pb2.Rollover:
    """How the alias of a name stands."""
    return rollovers_pb2.Rollover(
        name=name,
        targets=[_target(target) for target in status.targets],
        previous=[_previous(before) for before in status.previous],
        policy=functions_pb2.RolloverPolicy.ValueType(status.terms.policy),
        max_staleness_s=status.terms.max_staleness_s,
        load_failure=_load_failure(status.load_failure) if status.load_failure else None,
        is_usage_known=status.is_usage_known,
    )


def _target(target: Target) -> rollovers_pb2.TargetVersion:
    return rollovers_pb2.TargetVersion(
        version=target.route.version.number,
        weight=target.route.weight,
        loaded=target.loaded,
        answering_version=target.answering,
    )


def _previous(before: Before) -> rollovers_pb2.PreviousVersion:
    previous = before.previous
    return rollovers_pb2.PreviousVersion(
        version=previous.version.number,
        loaded=before.loaded,
        remaining_s=before.remaining_s,
        rule=invocations_pb2.RolloverRule.ValueType(previous.hindrance or 0),
        differing_fields=previous.differing_fields,
    )


def _load_failure(failed: LoadFailure) -> aliases_pb2.LoadFailure:
    return aliases_pb2.LoadFailure(
        version=failed.version,
        error=failure_to_proto(failed.failure),
        failures=failed.failures,
        time=_timestamp(failed.time_ns),
        retry_time=_timestamp(failed.retry_time_ns),
    )


def _timestamp(time_ns: int) -> Timestamp:
    time = Timestamp()
    time.FromNanoseconds(time_ns)
    return time
