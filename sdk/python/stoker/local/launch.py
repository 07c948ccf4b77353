"""Starts one command as a detached process: `python -m stoker.local.launch`, told by JSON on its standard input.

It is a program of its own so that it can be run by sudo; and it is told by standard input because other users can see
a command line, and an environment may hold secrets. It prints the pid.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 10 * 1024 * 1024
"""A log that is larger when its process is started is moved aside, to `.1`."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start."""

    command: Sequence[str]
    environment: Mapping[str, str]
    """Added to the environment."""
    log_file: str
    """Gets its standard output and error."""

    def to_json(self) -> str:
        """What this program reads."""
        return json.dumps(asdict(self))


def start(launch: Launch) -> int:
    """Starts the command in a session of its own; returns its pid."""
    log_file = Path(launch.log_file)
    if log_file.exists() and log_file.stat().st_size > MAX_LOG_BYTES:
        log_file.rename(log_file.with_name(f"{log_file.name}.1"))
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir("/")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execvpe(launch.command[0], list(launch.command), {**os.environ, **launch.environment})  # noqa: S606 - no shell wanted
    except OSError as error:
        os.write(2, f"cannot start {launch.command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def main() -> None:
    """Reads what to start, and prints its pid."""
    told: dict[str, Any] = json.load(sys.stdin)
    print(start(Launch(**told)), flush=True)


if __name__ == "__main__":
    main()
