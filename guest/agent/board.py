"""A page of memory that the agent shares with a runtime, by which each tells the other what costs nothing to be told.

A runtime that reads invocations from its own port runs them without the agent: to wake the agent for each would take
longer than all the rest. So it writes here which invocation runs, and the agent looks when it has to know; and the
agent marks here that the answer must come by way of it. The function's process can write whatever it likes.
"""

import fcntl
import mmap
import os

from agent.checks import INVOCATION

SIZE_BYTES = 4096
_MARK, _LENGTH, _ID = 0, 1, 2
"""Where the agent's mark is, the length of the invocation's id, and the id."""


class Board:
    """The agent's view of the page, which lasts as long as this does."""

    def __init__(self) -> None:
        """Makes an empty one. The caller closes its `file` when it has been passed on."""
        self.file = os.memfd_create("board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.file, SIZE_BYTES)
            # Whoever looks at memory that is no more is killed, and the agent must not be.
            fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._memory = mmap.mmap(self.file, SIZE_BYTES)
        except BaseException:
            os.close(self.file)
            raise

    @property
    def invocation_id(self) -> str:
        """The invocation under way; empty where there is none, or the process has written nonsense."""
        text = self._memory[_ID : _ID + self._memory[_LENGTH]].decode("ascii", "replace")
        return text if INVOCATION.fullmatch(text) else ""

    def mark(self) -> None:
        """From here on an invocation that ends is answered by way of the agent."""
        self._memory[_MARK] = 1

    def clear(self) -> None:
        """Takes the mark away, with the id of the invocation that has been answered by way of the agent."""
        self._memory[_LENGTH] = 0
        self._memory[_MARK] = 0
