"""Writes cpio archives of the "newc" form, which kernels unpack as initramfs.

The same entries give the same bytes: no times, owners or inode numbers of files that lie about somewhere go in.
"""

import stat

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


class CpioWriter:
    """An archive that is written in memory. A directory has to come before what is in it."""

    def __init__(self) -> None:
        """Begins an empty archive."""
        self._bytes = bytearray()
        self._inode = 0

    def add_directory(self, name: str) -> None:
        """Adds a directory."""
        self._add(name, stat.S_IFDIR | 0o755)

    def add_file(self, name: str, content: bytes, *, is_program: bool = False) -> None:
        """Adds a file."""
        self._add(name, stat.S_IFREG | (0o755 if is_program else 0o644), content)

    def add_link(self, name: str, target: str) -> None:
        """Adds a symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def add_character_device(self, name: str, major: int, minor: int) -> None:
        """Adds a character device."""
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        """Ends the archive and returns it."""
        self._inode = -1
        self._add(_TRAILER, 0)
        return bytes(self._bytes)

    def _add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        owner, group, links, time, checksum = 0, 0, 1, 0, 0
        header = (self._inode, mode, owner, group, links, time, len(content), 0, 0, *device, len(path), checksum)
        self._bytes += _MAGIC.encode() + "".join(f"{field:08X}" for field in header).encode() + path
        self._pad()
        self._bytes += content
        self._pad()

    def _pad(self) -> None:
        self._bytes += bytes(-len(self._bytes) % 4)
