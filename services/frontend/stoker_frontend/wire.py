"""Functions' failures, and what is set for functions, between messages and values."""

from stoker_protos.v1 import concurrency_pb2, invocations_pb2

from stoker_frontend.concurrency import Setting
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


def setting_name(function: str, alias: str) -> str:
    """The name of what is set for a function, or for an alias of it."""
    return f"functions/{function}/aliases/{alias}/concurrency" if alias else f"functions/{function}/concurrency"


def setting_owner(name: str) -> tuple[str, str]:
    """The function and the alias, empty for none, that such a name, whose form has been checked, is of."""
    parts = name.split("/")
    return parts[1], parts[3] if parts[2] == "aliases" else ""


def setting_from_proto(concurrency: concurrency_pb2.Concurrency) -> Setting:
    """The value of a setting's message."""
    function, alias = setting_owner(concurrency.name)
    return Setting(function, alias, concurrency.provisioned, concurrency.maximum)


def setting_to_proto(setting: Setting) -> concurrency_pb2.Concurrency:
    """The message of a setting."""
    return concurrency_pb2.Concurrency(
        name=setting_name(setting.function, setting.alias), provisioned=setting.provisioned, maximum=setting.maximum
    )
