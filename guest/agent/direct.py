"""Invocations that a container gets by its own port, without the agent.

The agent has a part in one only where that is marked on the board: something was printed, or the host has waited long
and asks how it goes on. Then the runtime sends its answer here, and the host fetches it.
"""

import asyncio
import os
from typing import NoReturn

from agent.board import Board
from agent.failures import Failure
from agent.output import Output
from agent.runtime_channel import ChannelMisused, Message, RuntimeChannel

MAX_BODY_BYTES = 7 * 1024 * 1024
"""The longest that any answer may be; each invocation's own limit is lower."""


class Direct:
    """The answers that come from one container by way of the agent. There is at the most one, of the latest."""

    def __init__(self, channel: RuntimeChannel, board: Board) -> None:
        self._channel = channel
        self._board = board
        self._answers: dict[str, Message] = {}
        self._end: Failure | None = None
        self._has_changed = asyncio.Event()

    @classmethod
    def begin(cls, channel: RuntimeChannel, output: Output, port: int) -> "Direct":
        """Gives an open port to a runtime that has loaded its function and waits for it.

        Raises:
            OSError: The runtime has ended.
        """
        board = Board()
        try:
            channel.send_files(b'{"type":"port"}', (port, board.file))
        finally:
            os.close(board.file)
        output.follow(board)
        return cls(channel, board)

    @property
    def is_under_way(self) -> bool:
        """Whether an invocation is, as far as the runtime tells."""
        return bool(self._board.invocation_id)

    async def listen(self) -> NoReturn:
        """Takes what the runtime sends.

        Raises:
            ChannelClosed: The runtime has closed its end.
            ChannelMisused: What it has sent makes no sense.
        """
        while True:
            message = await self._channel.receive(MAX_BODY_BYTES)
            invocation_id = message.header.get("invocation_id")
            if message.type not in ("result", "failed") or not isinstance(invocation_id, str):
                raise ChannelMisused(f"a message of type {message.type!r}, or of no invocation")
            self._answers = {invocation_id: message}
            self._has_changed.set()

    def end(self, failure: Failure) -> None:
        """What is asked for from here on has ended with the process, by this failure."""
        self._end = failure
        self._has_changed.set()

    async def answer(self, invocation_id: str) -> Message | Failure:
        """Waits for the answer of an invocation, or the end of the process."""
        self._board.mark()
        while True:
            if (answer := self._answers.pop(invocation_id, None)) is not None:
                return answer
            if self._end is not None:
                return self._end
            self._has_changed.clear()
            await self._has_changed.wait()
