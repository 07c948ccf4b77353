"""The kernel, its modules, and the initramfs."""

import ctypes
import io
import struct
import subprocess
from pathlib import Path

import pytest
from stoker_guest_image import kernel
from stoker_guest_image.boot import make_initramfs
from stoker_guest_image.errors import ImageError

NEEDS = {"erofs": ["libcrc32c"], "libcrc32c": [], "virtiofs": ["fuse", "virtio"], "fuse": [], "virtio": []}


def bzimage_of(payload: bytes) -> bytes:
    """A kernel's boot image with one sector of set-up code."""
    image = bytearray(1024)
    image[0x1F1] = 1
    struct.pack_into("<II", image, 0x248, 0x40, len(payload))
    image[1024:] = bytes(0x40) + payload
    return bytes(image)


def packed_by_lz4(content: bytes) -> bytes:
    """Content in LZ4's older format, of one block."""
    library = ctypes.CDLL("liblz4.so.1")
    block = ctypes.create_string_buffer(library.LZ4_compressBound(len(content)))
    size = library.LZ4_compress_default(content, block, len(content), len(block))
    return struct.pack("<II", 0x184C2102, size) + block.raw[:size] + struct.pack("<I", len(content))


def test_a_kernel_is_unpacked() -> None:
    elf = b"\x7fELF" + bytes(range(256)) * 100

    assert kernel.unpack_kernel(bzimage_of(packed_by_lz4(elf))) == elf


@pytest.mark.parametrize("payload", [b"\xfd7zXZ" + bytes(64), packed_by_lz4(b"no ELF file")])
def test_an_unknown_kernel_is_refused(payload: bytes) -> None:
    with pytest.raises(ImageError, match="linux-image-cloud-amd64"):
        kernel.unpack_kernel(bzimage_of(payload))


def test_modules_come_after_those_they_need() -> None:
    assert kernel.order_modules(["virtiofs", "erofs", "fuse"], NEEDS) == [
        "fuse",
        "virtio",
        "virtiofs",
        "libcrc32c",
        "erofs",
    ]


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ImageError, match="no module overlay"):
        kernel.order_modules(["overlay"], NEEDS)


@pytest.mark.parametrize(
    ("said", "needs"),
    [(b"", []), (b"virtio,virtio_ring", ["virtio", "virtio_ring"]), (b"crc32c-intel", ["crc32c_intel"])],
)
def test_what_a_module_needs_is_read_from_it(said: bytes, needs: list[str]) -> None:
    assert kernel.module_needs(b"\x7fELF\0license=GPL\0depends=" + said + b"\0retpoline=Y\0") == needs


def test_an_initramfs_holds_its_parts_in_the_form_that_the_kernel_reads(tmp_path: Path) -> None:
    archive = make_initramfs(b"#!/bin/sh\n", b"busybox!", ["sh", "mount"], {"virtio": b"1", "erofs": b"22"})

    listing = subprocess.run(["cpio", "-itv"], input=archive, capture_output=True, check=True).stdout.decode()
    subprocess.run(["cpio", "-id", "init", "modules/*"], input=archive, cwd=tmp_path, capture_output=True, check=True)
    assert [line.split()[-1] for line in listing.splitlines() if "/" in line and "bin/" not in line] == [
        "dev/console",
        "modules/00-virtio.ko",
        "modules/01-erofs.ko",
    ]
    assert "bin/mount -> busybox" in listing
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "modules" / "01-erofs.ko").read_bytes() == b"22"


def test_the_same_parts_give_the_same_initramfs() -> None:
    made = [make_initramfs(b"init", b"busybox", ["sh"], {"virtio": b"1"}) for _ in range(2)]

    assert made[0] == made[1]
    assert io.BytesIO(made[0]).read(6) == b"070701"
