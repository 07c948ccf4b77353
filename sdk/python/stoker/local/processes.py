"""Processes that outlive the command that started them.

A process is remembered by its pid and the time it was started, so that another one that gets the same pid later is not
taken for it.
"""

import json
import os
import select
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from every other that ever had its pid."""

    pid: int
    start_ticks: int
    """When it was started, in clock ticks since the machine was."""
    boot_id: str


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None where there is none, or it has ended and is only not yet reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything; the fields after it are counted from the third.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), _BOOT_ID.read_text().strip())


def is_running(process: Process) -> bool:
    """Whether it still runs."""
    return identify(process.pid) == process


def remember(file: Path, process: Process) -> None:
    """Writes down which process it is."""
    file.write_text(json.dumps(asdict(process)) + "\n", encoding="utf-8")


def recall(file: Path) -> Process | None:
    """The process that was written down, if it still runs."""
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        process = Process(**found)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return process if is_running(process) else None


@contextmanager
def end_of(process: Process) -> Generator[int | None]:
    """A descriptor that turns readable when the process ends; None where it has ended already."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # Asked after it was opened, so that it is of this process and no later one.
        yield descriptor if is_running(process) else None
    finally:
        os.close(descriptor)


def wait_for_end(processes: Sequence[Process], timeout_s: float) -> Sequence[Process]:
    """Waits for processes to end; returns those that have not within `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    return [process for process in processes if not _ends(process, max(0.0, deadline_s - time.monotonic()))]


def _ends(process: Process, timeout_s: float) -> bool:
    with end_of(process) as descriptor:
        if descriptor is None:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))


def send_signal(process: Process, number: signal.Signals) -> None:
    """Sends a signal, unless the process has ended.

    Raises:
        PermissionError: It belongs to another user.
    """
    with end_of(process) as descriptor:
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, number)
