"""A home directory on disk: its layout's record, its directories, its lock."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stoker.errors import StokerError
from stoker.local.layout import DEFAULT_LISTEN, DEFAULT_PORT_BASE, SERVICES, Layout, host_id
from stoker.local.privileges import Privileges
from stoker.local.processes import recall

OWNED_BY_USER = ("run", "logs", "codestore", "scheduler", "frontend")
"""The directories whose owner is who called `stoker up`; the others belong to root."""


class HomeUnusable(StokerError):
    """The home directory cannot be used as it is."""


def recorded_layout(home: Path) -> Layout | None:
    """The layout that `stoker up` wrote down; None where it never did."""
    try:
        found: Mapping[str, Any] = json.loads((home / "run" / "layout.json").read_text(encoding="utf-8"))
        return Layout(home, found["listen"], found["port_base"], found["host"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeUnusable("HOME_UNREADABLE", f"cannot read {home}/run/layout.json: {error}") from error


def choose_layout(home: Path, listen: str | None, port_base: int | None) -> Layout:
    """The layout for `stoker up`: what is asked for, else what was, else the usual.

    Raises:
        HomeUnusable: Another one is running there, or the record cannot be read.
    """
    kept = recorded_layout(home)
    chosen_listen = listen or (kept.listen if kept else DEFAULT_LISTEN)
    chosen_port = port_base or (kept.port_base if kept else DEFAULT_PORT_BASE)
    if kept is None:
        return Layout(home, chosen_listen, chosen_port, host_id(socket.gethostname(), chosen_port))
    if (chosen_listen, chosen_port) != (kept.listen, kept.port_base) and running_services(kept):
        raise HomeUnusable(
            "RUNS_ELSEWHERE",
            f"the Stoker of {home} runs at {kept.listen_address('frontend')}; `stoker down --home {home}` stops it",
        )
    # The host keeps its id, by which it knows its VMs again.
    return Layout(home, chosen_listen, chosen_port, kept.host)


def running_services(layout: Layout) -> list[str]:
    """The services that run."""
    return [service for service in SERVICES if recall(layout.process_file(service))]


def prepare(layout: Layout, privileges: Privileges) -> None:
    """Makes the directories, and writes the layout down.

    Raises:
        HomeUnusable: That is not possible.
        NeedsRoot: Only root can make the home directory, and cannot be had.
    """
    home = layout.home
    if not home.is_dir() and not os.access(_existing_parent(home), os.W_OK):
        owner = ["-o", str(os.getuid()), "-g", str(os.getgid())]
        privileges.run(["install", "-d", "-m", "755", *owner, str(home)], f"making {home}", timeout_s=10)
    try:
        # QEMU, a user of its own, reads the images and sockets below it.
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in OWNED_BY_USER:
            mode = 0o700 if name in ("frontend", "codestore") else 0o755
            (home / name).mkdir(mode=mode, exist_ok=True)
        layout.record_file.write_text(json.dumps({**asdict(layout), "home": str(home)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise HomeUnusable(
            "HOME_UNUSABLE",
            f"cannot use {home}: {error.strerror}; choose another by `--home`, or run this as its owner",
        ) from error


@contextmanager
def locked(layout: Layout) -> Generator[None]:
    """Keeps other commands from changing what runs in the home directory.

    Raises:
        HomeUnusable: One does just now.
    """
    try:
        with layout.lock_file.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HomeUnusable(
                    "HOME_BUSY", f"another `stoker up` or `down` is busy with {layout.home}; wait until it has ended"
                ) from error
            yield
    except PermissionError as error:
        raise HomeUnusable(
            "HOME_UNUSABLE", f"{layout.home} belongs to another user; run this as its owner or as root"
        ) from error


def purge(layout: Layout, privileges: Privileges) -> None:
    """Deletes the home directory.

    Raises:
        HomeUnusable: Something is still mounted there, or something cannot be deleted.
    """
    mounted = [point for point in _mount_points() if point.is_relative_to(layout.home)]
    if mounted:
        raise HomeUnusable("STILL_MOUNTED", f"{mounted[0]} is still mounted; unmount it, then try again")
    if privileges.is_root:
        shutil.rmtree(layout.home)
    else:
        privileges.run(["rm", "-rf", "--", str(layout.home)], f"deleting {layout.home}", timeout_s=120)


def _mount_points() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    # Spaces in paths are written as octal escapes.
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())
