"""crun, the program that makes containers."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.children import Children

PROGRAM = "/usr/bin/crun"
TIMEOUT_S = 30.0


class CrunFailed(Exception):
    """crun could not do what it was asked; the message is its own."""


class Crun:
    """Runs crun."""

    def __init__(self, children: Children) -> None:
        self._children = children

    async def run(
        self, container: str, bundle: Path, config: Mapping[str, Any], files: Mapping[int, int]
    ) -> "tuple[int, asyncio.Future[int]]":
        """Starts a container, and returns its first process and how that will end, as `Children.start` does.

        Args:
            container: Its id.
            bundle: A directory for what crun needs.
            config: The configuration.
            files: The files of its first process by number, from 0 without a gap; more than 3 are passed on.

        Raises:
            CrunFailed: It didn't start.
        """
        (bundle / "config.json").write_text(json.dumps(config))
        pid_file = bundle / "pid"
        with self._children.adopting():
            await self._command(
                bundle,
                ["run", "--detach", f"--preserve-fds={len(files) - 3}", f"--pid-file={pid_file}", f"--bundle={bundle}"],
                container,
                files,
            )
            pid = int(pid_file.read_text())
            return pid, self._children.watch(pid)

    async def delete(self, container: str, bundle: Path) -> None:
        """Kills a container, where it still runs, and removes all that crun has made for it.

        Raises:
            CrunFailed: Something is left.
        """
        await self._command(bundle, ["delete", "--force"], container, {})

    async def _command(self, bundle: Path, arguments: list[str], container: str, files: Mapping[int, int]) -> None:
        log = bundle / "crun.log"
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            end = self._children.start(
                [PROGRAM, "--cgroup-manager=cgroupfs", f"--log={log}", *arguments, container],
                {0: null, 1: null, 2: null, **files},
            )
        finally:
            os.close(null)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                code = await asyncio.shield(end)
        except asyncio.CancelledError:
            # Else it would go on making what is about to be removed.
            await asyncio.wait((end,), timeout=TIMEOUT_S)
            raise
        if code:
            said = log.read_text().strip() if log.exists() else ""
            raise CrunFailed(f"crun {arguments[0]} {container} failed ({code}): {said or 'it printed nothing'}")


def remove_bundle(bundle: Path) -> None:
    """Removes the directory of a container; one that isn't there is no error."""
    with suppress(FileNotFoundError):
        shutil.rmtree(bundle)
