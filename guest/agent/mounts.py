"""Mounts: the containers' root, shares, and the places where code appears in containers that run already."""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/run/stoker")
CONTAINER_ROOT = STATE / "root"
CONTAINERS = STATE / "containers"
SHARES = STATE / "shares"
ROOT_DISK = "/dev/vda"

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_BIND, MS_SHARED = 4096, 1 << 20
MNT_DETACH = 2

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

# The C library of the guest has no functions for these; the numbers are the same on all architectures.
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
SYS_FSCONFIG, SYS_FSPICK = 431, 433
FSPICK_CLOEXEC, FSPICK_SYMLINK_NOFOLLOW = 1, 2
FSCONFIG_SET_STRING, FSCONFIG_CMD_RECONFIGURE = 1, 7

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def prepare() -> None:
    """Makes the directories, and mounts the root disk once more, clean and read-only, as the root of containers."""
    for directory in (CONTAINER_ROOT, CONTAINERS, SHARES):
        directory.mkdir(parents=True, exist_ok=True)
    _mount(ROOT_DISK, CONTAINER_ROOT, "erofs", MS_RDONLY | MS_NOSUID | MS_NODEV)


def mount_share(tag: str, directory: Path, *, is_read_only: bool) -> None:
    """Mounts a virtiofs share; a directory that is a mount point already is left so.

    Raises:
        OSError: There is no such share, or it can't be mounted.
    """
    directory.mkdir(exist_ok=True)
    if not os.path.ismount(directory):
        _mount(tag, directory, "virtiofs", MS_NOSUID | MS_NODEV | (MS_RDONLY if is_read_only else 0))


@dataclass(frozen=True, slots=True)
class Windows:
    """The directories over which a container gets what it has not had from the beginning."""

    code: Path
    layers: Path


def make_window(directory: Path) -> None:
    """Makes a directory a mount point of its own whose later mounts show up wherever it is bound to."""
    directory.mkdir()
    _mount(str(directory), directory, None, MS_BIND)
    _mount("none", directory, None, MS_SHARED)


def show_in_window(source: Path, window: Path) -> None:
    """Binds a directory, with all that is mounted below it, read-only over a window.

    The mount is made read-only before it appears anywhere, which only the newer system calls can do.

    Raises:
        OSError: There is no such directory.
    """
    tree = _call(
        SYS_OPEN_TREE, AT_FDCWD, bytes(source), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW
    )
    try:
        attributes = _MountAttributes(set=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        _call(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH | AT_RECURSIVE, ctypes.byref(attributes), size)
        _call(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, bytes(window), MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def stack_in_window(layers: Sequence[Path], window: Path) -> None:
    """Shows directories as one, read-only, in a window; each over those before it.

    Raises:
        OSError: One isn't there, or they can't be stacked.
    """
    if len(layers) == 1:
        show_in_window(layers[0], window)
        return
    # overlayfs has the uppermost first. Paths are checked: none has a character that means something here.
    stacked = ":".join(str(layer) for layer in reversed(layers))
    _mount("overlay", window, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, f"lowerdir={stacked}")


def resize_tmpfs(mount_point: str, size_mib: int) -> None:
    """Changes the size of a tmpfs, which may be mounted in another mount namespace alone.

    Raises:
        OSError: It isn't there, or holds more than that.
    """
    context = _call(SYS_FSPICK, AT_FDCWD, mount_point.encode(), FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW)
    try:
        _call(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, b"size", f"{size_mib}m".encode(), 0)
        _call(SYS_FSCONFIG, context, FSCONFIG_CMD_RECONFIGURE, None, None, 0)
    finally:
        os.close(context)


def remove_window(directory: Path) -> None:
    """Takes a window away, with what was bound over it."""
    # It may be mounted over several times; that it no more is can be told only by trying.
    while not _libc.umount2(bytes(directory), MNT_DETACH):
        pass
    directory.rmdir()


def _mount(source: str, target: Path, filesystem: str | None, flags: int, options: str = "") -> None:
    kind = None if filesystem is None else filesystem.encode()
    if _libc.mount(source.encode(), bytes(target), kind, ctypes.c_ulong(flags), options.encode() or None):
        raise _error(f"{source} at {target}")


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise _error(f"system call {number}")
    return result


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{os.strerror(number)}: {what}")
