"""A runtime that runs several invocations at once: what it is asked and what it answers, told apart by their ids.

One invocation can't be killed alone. The runtime is asked to cancel it, and the container goes on; only where it has
not ended after a grace is the container given up, with all that runs in it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn

from agent import failures
from agent.failures import Failure
from agent.output import TAIL_BYTES, LineSplitter
from agent.runtime_channel import ChannelClosed, ChannelMisused, Header, Message, RuntimeChannel

CANCEL_GRACE_S = 2.0
"""How long a cancelled invocation may take to end before the container is killed."""

MAX_BODY_BYTES = 7 * 1024 * 1024
"""The longest that any answer may be; each invocation's own limit is lower."""

STREAMS = ("stdout", "stderr")


def _splitters() -> dict[str, LineSplitter]:
    return {stream: LineSplitter() for stream in STREAMS}


@dataclass(eq=False)
class _Running:
    """An invocation that has not been answered."""

    id: str
    reply: "asyncio.Future[Message | Failure]"
    tail: bytearray = field(default_factory=bytearray)
    splitters: dict[str, LineSplitter] = field(default_factory=_splitters)
    is_cancelled: bool = False


class Sharing:
    """The invocations in one container."""

    def __init__(
        self,
        channel: RuntimeChannel,
        most: int,
        printed: Callable[[str, str, list[str]], None],
        give_up: Callable[[], None],
    ) -> None:
        """Begins without any.

        Args:
            channel: The connection to the runtime.
            most: How many it runs at once.
            printed: Called with an invocation's id, empty for none, a stream's name and lines.
            give_up: Kills the container, since an invocation that was cancelled doesn't end.
        """
        self._channel = channel
        self._most = most
        self._printed = printed
        self._give_up = give_up
        self._running: dict[str, _Running] = {}
        self._late = _splitters()
        self._has_given_up = False

    @property
    def is_full(self) -> bool:
        """Whether it runs as many as it may. One that was cancelled no longer counts."""
        return sum(not each.is_cancelled for each in self._running.values()) >= self._most

    def runs(self, invocation_id: str) -> bool:
        """Whether an invocation of that id has not ended."""
        return invocation_id in self._running

    async def exchange(
        self, invocation_id: str, header: Header | bytes, body: bytes, timeout_ms: int, max_body_bytes: int
    ) -> tuple[Message | Failure, bytes]:
        """Has an invocation run; returns its end and the last 4 KiB of what it printed.

        If this task is cancelled, so is the invocation.
        """
        reply: asyncio.Future[Message | Failure] = asyncio.get_running_loop().create_future()
        running = self._running[invocation_id] = _Running(invocation_id, reply)
        # At once, so that it counts among those that run before anybody else gets a turn.
        self._channel.write(header, body)
        try:
            await asyncio.sleep(0)  # from here on this is a task
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    await self._channel.sent()
                    answer = await asyncio.shield(reply)
            except TimeoutError:
                self._cancel(running)
                await asyncio.shield(reply)
                answer = failures.cancelled_by_timeout(timeout_ms)
            except ChannelClosed:
                # Whoever reads the channel finds out why.
                answer = await asyncio.shield(reply)
        except asyncio.CancelledError:
            self._cancel(running)
            raise
        if isinstance(answer, Message) and answer.body is not None and len(answer.body) > max_body_bytes:
            answer = replace(answer, body=None)
        return answer, bytes(running.tail)

    async def listen(self) -> NoReturn:
        """Takes what the runtime sends.

        Raises:
            ChannelClosed: The runtime has closed its end.
            ChannelMisused: What it has sent makes no sense.
        """
        while True:
            message = await self._channel.receive(MAX_BODY_BYTES)
            invocation_id = message.header.get("invocation_id")
            if not isinstance(invocation_id, str):
                raise ChannelMisused(f"a message of type {message.type!r} without an invocation's id")
            match message.type:
                case "output":
                    self._take_output(invocation_id, message)
                case "result" | "failed":
                    self._take_answer(invocation_id, message)
                case other:
                    raise ChannelMisused(f"a message of type {other!r}")

    def end(self, failure: Failure) -> None:
        """Lets all that runs end with the container, by this failure of its process."""
        if self._has_given_up:
            failure = failures.taken_along(CANCEL_GRACE_S)
        for running in list(self._running.values()):
            self._finish(running, failure)

    def _take_answer(self, invocation_id: str, message: Message) -> None:
        running = self._running.get(invocation_id)
        if running is None:
            raise ChannelMisused("an answer to no invocation")
        self._finish(running, message)

    def _take_output(self, invocation_id: str, message: Message) -> None:
        stream = message.header.get("stream")
        if stream not in STREAMS or message.body is None:
            raise ChannelMisused("output of no stream, or too much at once")
        running = self._running.get(invocation_id)
        if running is not None:
            running.tail += message.body
            del running.tail[:-TAIL_BYTES]
        # What comes after an invocation's end, of work that it left behind, is the container's.
        splitters, owner = (running.splitters, running.id) if running else (self._late, "")
        if lines := splitters[stream].feed(message.body):
            self._printed(owner, stream, lines)

    def _finish(self, running: _Running, end: Message | Failure) -> None:
        del self._running[running.id]
        for stream, splitter in running.splitters.items():
            if lines := splitter.flush():
                self._printed(running.id, stream, lines)
        running.reply.set_result(end)

    def _cancel(self, running: _Running) -> None:
        if running.is_cancelled or running.reply.done():
            return
        running.is_cancelled = True
        self._channel.write({"type": "cancel", "invocation_id": running.id})
        asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._expire, running)

    def _expire(self, running: _Running) -> None:
        if not running.reply.done():
            self._has_given_up = True
            self._give_up()
