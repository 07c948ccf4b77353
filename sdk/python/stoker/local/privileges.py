"""Root, for the few commands that need it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence

from stoker.errors import StokerError

UNLOCK_S = 600.0


class NeedsRoot(StokerError):
    """Something needs root, and there is no way to get it."""


class Privileges:
    """Runs commands as root: as they are where this process is root, else by sudo, saying so first."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` tells the user a line."""
        self._say = say
        self._explained: set[str] = set()

    @property
    def is_root(self) -> bool:
        """Whether this process is root."""
        return os.geteuid() == 0

    def unlock(self) -> None:
        """Lets sudo ask for a password now if it needs one, and not while a step shows its progress."""
        if self.is_root or shutil.which("sudo") is None:
            return
        if subprocess.run(["sudo", "-n", "true"], capture_output=True, timeout=UNLOCK_S, check=False).returncode:
            self._say("some of the next steps need root, and say so; sudo may ask for your password")
            subprocess.run(["sudo", "-v"], timeout=UNLOCK_S, check=False)

    def as_root(self, command: Sequence[str], why: str) -> Sequence[str]:
        """The command with what makes it run as root in front.

        Args:
            command: The command.
            why: What for, to go on from "… needs root": said once to a user who is not root.

        Raises:
            NeedsRoot: This process is not root, and sudo is not installed.
        """
        if self.is_root:
            return command
        if shutil.which("sudo") is None:
            raise NeedsRoot("ROOT_NEEDED", f"{why} needs root, and sudo is not installed; run this command as root")
        if why not in self._explained:
            self._explained.add(why)
            self._say(f"{why} needs root; it is run by sudo: {' '.join(command[:4])}{' …' if command[4:] else ''}")
        return ["sudo", *command]

    def run(self, command: Sequence[str], why: str, timeout_s: float) -> None:
        """Runs a command as root.

        Raises:
            NeedsRoot: It could not be run as root, or failed.
        """
        try:
            done = subprocess.run(
                self.as_root(command, why), capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NeedsRoot("COMMAND_FAILED", f"{command[0]} failed: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NeedsRoot(
                "COMMAND_FAILED", f"{' '.join(command)} failed: {said[-1] if said else f'status {done.returncode}'}"
            )
