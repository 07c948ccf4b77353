"""The programs of the host that the builder runs."""

import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Timer

from stoker_guest_image.errors import ImageError

TOOL_S = 120.0
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PACKAGES = {"dpkg-deb": "dpkg", "mkfs.erofs": "erofs-utils", "mmdebstrap": "mmdebstrap", "tar": "tar"}
_LAST_LINES = 15


def check_tools() -> None:
    """Returns if all that is needed is installed.

    Raises:
        ImageError: Something is not.
    """
    missing = [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]
    if not KEYRING.is_file():
        missing.append("debian-archive-keyring")
    if missing:
        raise ImageError(f"building needs {', '.join(missing)}; run as root: apt-get install {' '.join(missing)}")


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> bytes:
    """Runs a program and returns what it prints.

    Raises:
        ImageError: It failed, or did not end in time.
    """
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=TOOL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"{command[0]} did not end within {TOOL_S:.0f} s") from error
    if done.returncode:
        said = (done.stdout[-2000:] + done.stderr[-2000:]).decode(errors="replace").strip()
        raise ImageError(f"{command[0]} failed with status {done.returncode}:\n{said}")
    return done.stdout


def run_telling(
    command: Sequence[str | Path],
    tell: Callable[[str], None],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
) -> None:
    """Runs a program, handing over each line that it prints on standard error.

    Raises:
        ImageError: It failed, or did not end in time; with the last that it said.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        timer = Timer(timeout_s, process.terminate)
        timer.start()
        try:
            for line in process.stderr or ():
                last.append(line.rstrip())
                tell(line.rstrip())
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            timer.cancel()
    if status:
        raise ImageError("\n".join([f"{command[0]} failed with status {status}:", *last]))
