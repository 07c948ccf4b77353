"""Host names of containers, each in a namespace of its own."""

import ctypes
import os
import socket

CLONE_NEWUTS = 0x04000000

_libc = ctypes.CDLL(None, use_errno=True)


def set_hostname_of(pid: int, hostname: str) -> None:
    """Sets the host name that a process sees.

    It is done from within its namespace, where this thread is only meanwhile: nothing may be awaited here.

    Raises:
        OSError: There is no such process.
    """
    own = os.open("/proc/self/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            socket.sethostname(hostname)
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWUTS):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: setns")
