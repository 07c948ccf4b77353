"""Values and messages of rollovers, translated into each other."""

from stoker_protos.codestore.v1 import codestore_pb2, loads_pb2
from stoker_protos.v1 import aliases_pb2, invocations_pb2

from stoker_codestore import wire
from stoker_codestore.predecessors import Hindrance
from stoker_codestore.previous_versions import Previous
from stoker_codestore.version_loads import LoadError, VersionLoad

_RULES = {
    Hindrance.POLICY: invocations_pb2.ROLLOVER_RULE_WAITED_BY_POLICY,
    Hindrance.DIFFERENT: invocations_pb2.ROLLOVER_RULE_WAITED_AS_DIFFERENT,
    Hindrance.ROLLED_BACK: invocations_pb2.ROLLOVER_RULE_WAITED_AS_ROLLED_BACK,
}


def previous_message(tenant: str, function: str, previous: Previous) -> codestore_pb2.PreviousSpec:
    """The message of a version that an alias of a tenant's function pointed to before."""
    found = previous.predecessor
    return codestore_pb2.PreviousSpec(
        spec=wire.spec_message(tenant, function, found.version, previous.artifact_size_bytes),
        instead_of=previous.instead_of,
        remaining_ms=round(previous.remaining_s * 1000),
        rule=_RULES[found.hindrance] if found.hindrance else invocations_pb2.ROLLOVER_RULE_UNSPECIFIED,
        differing_fields=found.differences if found.hindrance is Hindrance.DIFFERENT else (),
        is_needed=previous.is_needed,
    )


def load_error_of(request: loads_pb2.ReportLoadRequest) -> LoadError | None:
    """Why a version could not be loaded; None where it was."""
    error = request.error
    return LoadError(error.kind, error.type, error.message) if request.HasField("error") else None


def load_failure_message(number: int, load: VersionLoad) -> aliases_pb2.LoadFailure:
    """The message of a failure to load the version of a number."""
    error = load.error or LoadError(0, "", "")
    return aliases_pb2.LoadFailure(
        version=number,
        error=invocations_pb2.FunctionError(
            kind=invocations_pb2.FunctionErrorKind.ValueType(error.kind), type=error.type, message=error.message
        ),
        failures=load.failures,
        time=wire.timestamp(load.time),
        retry_time=wire.timestamp(load.retry_time),
    )
