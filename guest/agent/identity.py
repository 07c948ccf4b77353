"""What makes a VM itself: host name, machine id, clock, randomness. A clone gets them anew."""

import fcntl
import os
import socket
import struct
import time
from pathlib import Path

from agent import mounts

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
RANDOM_DEVICE = "/dev/random"
MACHINE_ID = mounts.STATE / "machine-id"
"""What containers see as `/etc/machine-id`: the same file, so that a new id shows in those that run already."""


def prepare() -> None:
    """Gives the VM a machine id of its own, until the host gives it another."""
    MACHINE_ID.parent.mkdir(parents=True, exist_ok=True)
    set_machine_id(os.urandom(16).hex())


def set_clock(unix_time_ns: int) -> None:
    """Sets the kernel's clock."""
    time.clock_settime_ns(time.CLOCK_REALTIME, unix_time_ns)


def set_hostname(hostname: str) -> None:
    """Sets the host name."""
    socket.sethostname(hostname)


def set_machine_id(machine_id: str) -> None:
    """Sets the machine id."""
    MACHINE_ID.write_text(f"{machine_id}\n")


def add_entropy(entropy: bytes) -> None:
    """Puts random bytes into the kernel's pool, and has its generator begin anew from there."""
    request = struct.pack("ii", 8 * len(entropy), len(entropy)) + entropy
    with Path(RANDOM_DEVICE).open("wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, request)
        fcntl.ioctl(device, RNDRESEEDCRNG)
