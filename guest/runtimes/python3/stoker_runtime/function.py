"""The function: found in its code, and called."""

import asyncio
import importlib
import inspect
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from .context import Context
from .failures import HandlerNotFound, InvalidEvent, InvalidResponse, ResponseTooLarge

JSON, BYTES = "application/json", "application/octet-stream"

PLAIN = frozenset((dict, list, str, bytes, int, float, bool, type(None)))
"""Types of most results. Of others it takes long to find out whether they are to be awaited."""

_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def find_handler(name: str) -> Callable[[Any, Context], Any]:
    """Imports the handler that `module.function` names; whatever the import raises is raised.

    Raises:
        HandlerNotFound: The name isn't of that form, or the module has no such function.
    """
    module_name, _, function_name = name.rpartition(".")
    if not module_name or not function_name:
        raise HandlerNotFound(f"the handler {name!r} is not of the form module.function")
    module = importlib.import_module(module_name.replace("/", "."))
    handler = getattr(module, function_name, None)
    if not callable(handler):
        what = "no function" if handler is None else "something that can't be called"
        raise HandlerNotFound(
            f"the handler is {name}, and the module {module_name} has {what} by the name {function_name}"
        )
    return handler


class Function:
    """A handler, and the event loop it keeps from invocation to invocation where it is asynchronous."""

    def __init__(self, handler: Callable[[Any, Context], Any]) -> None:
        self._handler = handler
        self._runner: asyncio.Runner | None = None

    def call(self, payload: bytes, content_type: str, context: Context, max_bytes: int) -> tuple[str, bytes]:
        """Calls the handler; whatever it raises is raised. Returns the response's content type and the response.

        Raises:
            InvalidEvent: The payload isn't JSON and ought to be.
            InvalidResponse: The handler returned what can't become JSON.
            ResponseTooLarge: It returned more than `max_bytes`.
        """
        result = self._handler(decode_event(payload, content_type), context)
        if type(result) not in PLAIN and inspect.isawaitable(result):
            if self._runner is None:
                self._runner = asyncio.Runner()
            result = self._runner.run(_wait_for(result))
        return _within(encode_response(result), max_bytes)

    async def call_among_others(
        self, payload: bytes, content_type: str, context: Context, max_bytes: int
    ) -> tuple[str, bytes]:
        """The same, on an event loop that other invocations share."""
        result = self._handler(decode_event(payload, content_type), context)
        if inspect.isawaitable(result):
            result = await result
        return _within(encode_response(result), max_bytes)


def _within(encoded: tuple[str, bytes], max_bytes: int) -> tuple[str, bytes]:
    """A response that is not too large."""
    kind, response = encoded
    if len(response) > max_bytes:
        raise ResponseTooLarge(
            f"the handler returned {len(response)} bytes; at most {max_bytes} may be. Return less, or a reference"
        )
    return kind, response


async def _wait_for(result: Awaitable[Any]) -> Any:
    return await result


def decode_event(payload: bytes, content_type: str) -> Any:
    """The event that a handler gets.

    Raises:
        InvalidEvent: The payload isn't JSON and ought to be.
    """
    if content_type not in ("", JSON) and content_type.partition(";")[0].strip().lower() not in ("", JSON):
        return payload
    if not payload:
        return {}
    with suppress(ValueError, RecursionError):
        return _decode(payload.decode())
    try:
        # It may be in another encoding, or have a mark before it, which takes longer to find out.
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(
            f"the event is not JSON ({error}); send JSON, or another content type than {JSON} to pass bytes"
        ) from None


def encode_response(result: Any) -> tuple[str, bytes]:
    """What is sent of a handler's result, and its content type.

    Raises:
        InvalidResponse: It can't become JSON.
    """
    if isinstance(result, bytes | bytearray | memoryview):
        return BYTES, bytes(result)  # pyright: ignore[reportUnknownArgumentType] - a memoryview of anything
    try:
        return JSON, _encode(result).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResponse(
            f"the handler returned what can't become JSON ({error}); return JSON's types, or bytes"
        ) from None
