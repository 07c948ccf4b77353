"""The kernel and its modules, out of Debian's package of them."""

import ctypes
import re
import struct
from collections.abc import Mapping, Sequence

from stoker_guest_image.errors import ImageError

_LZ4_LEGACY = 0x184C2102
_LZ4_BLOCK_BYTES = 8 << 20
_ELF = b"\x7fELF"


def unpack_kernel(bzimage: bytes) -> bytes:
    """The kernel without its shell that unpacks it, which QEMU starts by the PVH protocol.

    Unpacking takes 0.5 s of the 2.4 s from QEMU's start to the first program (TCG, 2 shared cores, November 2026), in
    every VM again. What is lost is the random place of the kernel's code in memory, which all clones of one template
    share anyway.

    Raises:
        ImageError: The kernel is packed in another way than Debian's.
    """
    setup_sectors = bzimage[0x1F1] or 4
    offset, size = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # The size of the unpacked kernel stands at the end.
    kernel = _unpack_lz4(bzimage[start : start + size - 4])
    if not kernel.startswith(_ELF):
        raise ImageError("the kernel of linux-image-cloud-amd64 is no ELF file once unpacked")
    return kernel


def order_modules(wanted: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The modules to load, each after those that it needs.

    Args:
        wanted: The modules to end up with.
        needs: What each module of the kernel needs directly.

    Raises:
        ImageError: One is not there.
    """
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in ordered:
            return
        if name not in needs:
            raise ImageError(f"linux-image-cloud-amd64 has no module {name}; see recipe.toml, initramfs.modules")
        for needed in needs[name]:
            add(needed)
        ordered.append(name)

    for name in wanted:
        add(name)
    return ordered


def module_name(file_name: str) -> str:
    """A module's name, of its file's."""
    return file_name.removesuffix(".ko").replace("-", "_")


def module_needs(module: bytes) -> list[str]:
    """The modules that a module needs directly, read out of it."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [module_name(name) for name in found[1].decode().split(",") if name] if found else []


def _unpack_lz4(packed: bytes) -> bytes:
    """Unpacks LZ4's older format, which kernels are packed in and the standard library cannot read."""
    if struct.unpack_from("<I", packed)[0] != _LZ4_LEGACY:
        raise ImageError("the kernel of linux-image-cloud-amd64 is not packed by LZ4, the only format known here")
    try:
        library = ctypes.CDLL("liblz4.so.1")
    except OSError as error:
        raise ImageError("liblz4.so.1 is missing; run as root: apt-get install liblz4-1") from error
    block = ctypes.create_string_buffer(_LZ4_BLOCK_BYTES)
    unpacked = bytearray()
    position = 4
    while position + 4 <= len(packed):
        (size,) = struct.unpack_from("<I", packed, position)
        position += 4
        got: int = library.LZ4_decompress_safe(packed[position : position + size], block, size, _LZ4_BLOCK_BYTES)
        if got < 0:
            raise ImageError("the kernel of linux-image-cloud-amd64 is damaged; build again after `prune`")
        unpacked += memoryview(block)[:got]
        position += size
    return bytes(unpacked)
