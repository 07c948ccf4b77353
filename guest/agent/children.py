"""Processes that the agent starts, and everybody's orphans, which come to PID 1."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

FIRST_FREE_FILE = 16
"""Above all numbers that a child's files may get, so that none is overwritten before it has been copied."""


class Children:
    """Starts processes and tells how they ended. Whatever else ends as a child of PID 1 is reaped."""

    def __init__(self) -> None:
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._unclaimed: dict[int, int] = {}
        self._adopting = 0
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, command: Sequence[str], files: Mapping[int, int]) -> "asyncio.Future[int]":
        """Starts a program without environment variables.

        Args:
            command: The program's path and its arguments.
            files: Which of this process's files the child has under which number; it has no others.

        Returns:
            Its exit code when it has ended; below 0 the signal that killed it.

        Raises:
            OSError: It can't be started.
        """
        copies = {number: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FILE) for number, file in files.items()}
        try:
            pid = os.posix_spawn(
                command[0],
                tuple(command),
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, copy, number) for number, copy in copies.items()],
                setsigdef=[signal.SIGPIPE],
            )
        finally:
            for copy in copies.values():
                os.close(copy)
        return self.watch(pid)

    def watch(self, pid: int) -> "asyncio.Future[int]":
        """How a child will end, or has ended while somebody was `adopting`; as for `start`."""
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if pid in self._unclaimed:
            end.set_result(self._unclaimed.pop(pid))
        else:
            self._ends[pid] = end
        return end

    @contextmanager
    def adopting(self) -> Generator[None]:
        """While it is entered, the ends of unknown children are kept, since somebody learns their ids only now."""
        self._adopting += 1
        try:
            yield
        finally:
            self._adopting -= 1
            if not self._adopting:
                self._unclaimed.clear()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            end = self._ends.pop(pid, None)
            if end is not None and not end.done():
                end.set_result(code)
            elif end is None and self._adopting:
                self._unclaimed[pid] = code
