"""A real PostgreSQL server of Debian's packages, for as long as a test session lasts."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"
"""Who runs it where the tests are run by root, which PostgreSQL refuses to be."""


@dataclass(frozen=True, slots=True)
class PostgreSql:
    """A server that answers on a socket in a directory of its own, and is never in anybody's way."""

    directory: Path
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def make_database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"test_{next(self._numbers)}"
        subprocess.run([BINARIES[-1] / "createdb", "-h", self.directory, "-U", USER, name], check=True, timeout=30)
        return f"postgresql+asyncpg://{USER}@/{name}?host={self.directory}"


@contextmanager
def running_postgresql() -> Generator[PostgreSql]:
    """Runs a server while the context is entered."""
    binaries = BINARIES[-1]
    # Below /tmp by itself: a socket's path may have 107 characters, and the server's user must be able to reach it.
    directory = Path(tempfile.mkdtemp(prefix="stoker-postgresql-"))
    data = directory / "data"
    owner = pwd.getpwnam(USER) if os.geteuid() == 0 else None
    try:
        if owner is not None:
            os.chown(directory, owner.pw_uid, owner.pw_gid)

        def run(*command: str | Path) -> None:
            user = USER if owner is not None else None
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, user=user, group=user, cwd=directory, timeout=60
            )

        run(binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        # Without a host it listens on its socket alone. Nothing it holds outlives the tests, so nothing is synced.
        options = f"-c listen_addresses='' -c unix_socket_directories='{directory}' -c fsync=off"
        run(binaries / "pg_ctl", "-D", data, "-l", directory / "log", "-o", options, "-w", "-t", "30", "start")
        try:
            yield PostgreSql(directory)
        finally:
            run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
