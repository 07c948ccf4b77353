"""How the handler failed, told in the handler's own frames."""

import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any


class InvalidEvent(Exception):
    """The event isn't what its content type says."""


class InvalidResponse(Exception):
    """The handler returned what can't be sent."""


class HandlerNotFound(Exception):
    """The code has no such handler."""


class HandlerNotAsync(Exception):
    """The handler can't be called while another invocation runs."""


class ResponseTooLarge(Exception):
    """The handler returned more than may be sent."""


def describe(error: BaseException, code: str) -> dict[str, Any]:
    """The message that tells the agent of an error.

    Args:
        error: What was raised.
        code: The directory of the function's code.
    """
    return {
        "type": "failed",
        "error_type": type(error).__qualname__,
        "message": _message(error),
        "stack_trace": list(_frames(error, code)),
        "is_too_large": isinstance(error, ResponseTooLarge),
    }


def print_to_log(error: BaseException, code: str) -> None:
    """Prints an error with its stack, and those of its causes, to standard error."""
    with suppress(Exception):  # the function may have put anything in the place of sys.stderr
        traceback.print_exception(type(error), error, _first_own(error.__traceback__, code))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - the function's own __str__ may raise anything
        return f"(its message can't be read: {type(second).__name__})"


def _frames(error: BaseException, code: str) -> Iterator[str]:
    for frame in traceback.extract_tb(_first_own(error.__traceback__, code)):
        line = f": {frame.line}" if frame.line else ""
        yield f'File "{frame.filename}", line {frame.lineno}, in {frame.name}{line}'
    if isinstance(error, SyntaxError) and error.filename:
        line = f": {error.text.strip()}" if error.text else ""
        yield f'File "{error.filename}", line {error.lineno}{line}'


def _first_own(trace: TracebackType | None, code: str) -> TracebackType | None:
    """The stack from the first frame of the function on, without what the runtime and asyncio put before it."""
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(f"{code}/"):
        trace = trace.tb_next
    return trace
