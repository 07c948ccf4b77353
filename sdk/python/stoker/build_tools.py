"""Running the programs that install dependencies."""

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stoker.errors import PackingError

LONGEST_S = 900.0
"""How long installing may take, in seconds."""
_MOST_LINES = 200

Tell = Callable[[str], None]
"""Is told what happens, a line each time."""


class BuildFailed(PackingError):
    """The dependencies of the code cannot be installed for the guest."""


def run(command: Sequence[str], directory: Path, environment: Mapping[str, str], tell: Tell) -> tuple[int, str]:
    """Runs a program, telling what it prints as it comes; returns its exit code and the last of what it printed.

    Raises:
        BuildFailed: It does not end within 15 minutes.
    """
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    killer = threading.Timer(LONGEST_S, process.kill)
    killer.start()
    try:
        with process:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                if lines[-1]:
                    tell(f"  {lines[-1]}")
    except BaseException:
        process.kill()
        raise
    finally:
        is_late = not killer.is_alive()
        killer.cancel()
    if is_late:
        raise BuildFailed("BUILD_TOO_SLOW", f"{command[0]} did not end within {LONGEST_S:g} s; try again")
    return process.returncode, "\n".join(lines)
