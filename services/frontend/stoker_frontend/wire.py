"""Functions' failures, between messages and values."""

from stoker_protos.v1 import invocations_pb2

from stoker_frontend.runs import FunctionFailure


def failure_from_proto(error: invocations_pb2.FunctionError) -> FunctionFailure:
    """The value of a message."""
    return FunctionFailure(error.kind, error.type, error.message, tuple(error.stack_trace))


def failure_to_proto(failure: FunctionFailure) -> invocations_pb2.FunctionError:
    """The message of a value."""
    return invocations_pb2.FunctionError(
        kind=invocations_pb2.FunctionErrorKind.ValueType(failure.kind),
        type=failure.type,
        message=failure.message,
        stack_trace=failure.stack_trace,
    )
