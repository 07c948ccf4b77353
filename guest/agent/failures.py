"""How functions fail, in the words that their callers see."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from agent.runtime_channel import Header

MAX_TYPE_CHARACTERS = 256
MAX_MESSAGE_CHARACTERS = 16 * 1024
MAX_FRAMES = 64
MAX_FRAME_CHARACTERS = 1024


class FailureKind(IntEnum):
    """In which way a function failed; the numbers are those of `stoker.v1.FunctionErrorKind`."""

    EXCEPTION = 1
    TIMEOUT = 2
    EXIT = 3
    OUT_OF_MEMORY = 4
    RESPONSE_TOO_LARGE = 5
    LOAD = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of the function's own."""

    kind: FailureKind
    type: str
    message: str
    stack_trace: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container's process ended."""

    code: int
    """Its exit code; below 0 the signal that killed it."""
    is_out_of_memory: bool

    @property
    def reason(self) -> str:
        """As Watch tells it."""
        return "oom" if self.is_out_of_memory else "exited"

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exited with code {self.code}"
        return f"was killed by {_signal_name(-self.code)}"


def timed_out(timeout_ms: float, doing: str) -> Failure:
    """The handler, or the import of it, took too long."""
    return Failure(FailureKind.TIMEOUT, "Timeout", f"{doing} took longer than {timeout_ms / 1000:g} s and was killed")


def cancelled_by_timeout(timeout_ms: float) -> Failure:
    """The handler took too long, and others run in its container."""
    message = f"the invocation took longer than {timeout_ms / 1000:g} s and was cancelled"
    return Failure(FailureKind.TIMEOUT, "Timeout", message)


def taken_along(grace_s: float) -> Failure:
    """The container was killed for the sake of another invocation."""
    message = (
        f"the process was killed during the invocation, because another one in it did not end {grace_s:g} s after it "
        "was cancelled; a handler must not block its event loop"
    )
    return Failure(FailureKind.EXIT, "Killed", message)


def exited(ended: Ended, doing: str, memory_mib: int) -> Failure:
    """The process ended where it should have answered."""
    if ended.is_out_of_memory:
        message = f"the process used more than its {memory_mib} MiB of memory and was killed during {doing}"
        return Failure(FailureKind.OUT_OF_MEMORY, "OutOfMemory", message)
    return Failure(FailureKind.EXIT, "Exit", f"the process {ended} during {doing}")


def response_too_large(max_bytes: int) -> Failure:
    """The handler returned more than may be sent."""
    message = f"the handler's response is larger than {max_bytes} bytes; return less, or a reference to it"
    return Failure(FailureKind.RESPONSE_TOO_LARGE, "ResponseTooLarge", message)


def misused(what: str) -> Failure:
    """The runtime's connection brought something that no runtime sends."""
    return Failure(FailureKind.EXIT, "RuntimeMisused", f"the process sent {what} over the runtime's connection")


def while_loading(failure: Failure) -> Failure:
    """The same failure, as one of loading the code."""
    return Failure(FailureKind.LOAD, failure.type, failure.message, failure.stack_trace)


def from_runtime(header: Header) -> Failure:
    """The failure that a runtime has told, which is cut where it is too long."""
    frames: Any = header.get("stack_trace")
    if not isinstance(frames, list):
        frames = []
    last = [_text(frame, MAX_FRAME_CHARACTERS) for frame in frames[-MAX_FRAMES:]]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    return Failure(
        FailureKind.RESPONSE_TOO_LARGE if header.get("is_too_large") is True else FailureKind.EXCEPTION,
        _text(header.get("error_type"), MAX_TYPE_CHARACTERS) or "Error",
        _text(header.get("message"), MAX_MESSAGE_CHARACTERS),
        last,
    )


def _text(value: object, limit: int) -> str:
    # A lone surrogate is a string in JSON, and none in a protobuf message.
    text = value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
