"""Several invocations at once, on one event loop."""

import asyncio
import inspect
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from .channel import Channel
from .failures import HandlerNotAsync
from .printing import CURRENT, Printer

READ_BYTES = 256 * 1024

Answer = tuple[dict[str, Any], bytes]
"""A header and a body."""


def check_asynchronous(handler: Callable[..., Any], name: str, concurrency: int) -> None:
    """Returns if calling the handler gives something to await.

    Raises:
        HandlerNotAsync: It would hold up the other invocations.
    """
    inner = inspect.unwrap(handler)
    call = getattr(inner, "__call__", None)  # noqa: B004 - whether that is asynchronous, not whether there is one
    if not any(inspect.iscoroutinefunction(each) for each in (handler, inner, call)):
        raise HandlerNotAsync(
            f"the version's concurrency is {concurrency}, which needs an asynchronous handler, and {name} is none; "
            f"write `async def`, or deploy with a concurrency of 1"
        )


class Sharing:
    """The invocations under way."""

    def __init__(self, channel: Channel, answer: Callable[[dict[str, Any], bytes], Any]) -> None:
        """Begins without any.

        Args:
            channel: The connection to the agent.
            answer: Runs the invocation of a header and a payload, and gives its answer's header and body; an
                asynchronous function that raises nothing but what ends the process or the task.
        """
        self._channel = channel
        self._answer = answer
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Runs what the agent asks for, until it is gone."""
        messages = _reader(self._channel)
        try:
            while True:
                header, body = await self._channel.receive_from(messages)
                if header["type"] == "cancel":
                    if task := self._tasks.get(header["invocation_id"]):
                        task.cancel()
                else:
                    self._begin(header, body)
        except asyncio.IncompleteReadError:
            # The agent is gone, and nobody waits for what runs. Handlers that don't end must not hold this up.
            os._exit(0)

    def _begin(self, header: dict[str, Any], payload: bytes) -> None:
        invocation_id: str = header["invocation_id"]
        task = asyncio.create_task(self._run(header, payload), name=f"invocation {invocation_id}")
        self._tasks[invocation_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(invocation_id))

    async def _run(self, header: dict[str, Any], payload: bytes) -> None:
        printer = Printer(self._channel, header["invocation_id"])
        CURRENT.set(printer)
        try:
            answer, body = await self._answer(header, payload)
        except SystemExit as end:
            # Whoever ends the process means it, for all that run in it.
            printer.flush()
            os._exit(_exit_code(end))
        printer.flush()
        self._channel.send({**answer, "invocation_id": header["invocation_id"]}, body)


def _reader(channel: Channel) -> asyncio.StreamReader:
    """What the agent sends, as it comes. The socket stays a blocking one, for those who send."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()

    def read() -> None:
        try:
            data = channel.socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            reader.feed_data(data)
        else:
            loop.remove_reader(channel.socket)
            reader.feed_eof()

    loop.add_reader(channel.socket, read)
    return reader


def _exit_code(end: SystemExit) -> int:
    """The code that the interpreter would end with."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr, flush=True)
    return 1
