"""What makes a VM itself: host name, clock, randomness. A clone gets them anew."""

import fcntl
import socket
import struct
import time
from pathlib import Path

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
RANDOM_DEVICE = "/dev/random"


def set_clock(unix_time_ns: int) -> None:
    """Sets the kernel's clock."""
    time.clock_settime_ns(time.CLOCK_REALTIME, unix_time_ns)


def set_hostname(hostname: str) -> None:
    """Sets the host name."""
    socket.sethostname(hostname)


def add_entropy(entropy: bytes) -> None:
    """Puts random bytes into the kernel's pool, and has its generator begin anew from there."""
    request = struct.pack("ii", 8 * len(entropy), len(entropy)) + entropy
    with Path(RANDOM_DEVICE).open("wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, request)
        fcntl.ioctl(device, RNDRESEEDCRNG)
