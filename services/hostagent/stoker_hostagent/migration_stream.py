"""QEMU's migration stream, as far as zero pages can be left out of it. Pure: bytes in, slices out.

QEMU writes an entry for each page of the guest's memory, a few bytes where it holds nothing but zeros. A clone that
reads such an entry looks whether its page is zero already, and by looking takes a page of the host's memory: of 0.65 s
of a clone of 512 MiB, two thirds went to pages that hold nothing, and each clone held all its memory from the start
(TCG, 2 shared cores, November 2026). A new QEMU's memory is zero, so these entries can go.

The stream is a magic and a version, a description of the machine, then sections. Those of the memory come first: one
that names the blocks of memory, then some with pages, each section ended by an entry with the flag `END` and a footer.
An entry is an address with flags in its low bits; then, unless the flag `SAME_BLOCK` says that it is as before, the
block's name with its length in a byte before it; then a byte that fills the page, or the page.
"""

import struct
from collections.abc import Iterator
from typing import TypeAlias

MAGIC = b"QEVM\0\0\0\3"
GUEST_MEMORY = b"pc.ram"
"""The block that is zero in a new QEMU; others hold the firmware."""
PAGE_BYTES = 4096

SECTION_START, SECTION_PART, SECTION_END, FOOTER = 1, 2, 3, 0x7E
FILLED, SIZES, PAGE, END, SAME_BLOCK = 0x02, 0x04, 0x08, 0x10, 0x20
_FLAGS = PAGE_BYTES - 1
_MEMORY_SECTION = b"\3ram" + struct.pack(">II", 0, 4)
"""The section's name, instance and version, as QEMU has them since 2.4."""
_PREFACE_BYTES = 4096
_ENTRY = struct.Struct(">Q")
_SECTION = struct.Struct(">BI")

Buffer: TypeAlias = bytes | memoryview


class StreamUnknown(Exception):
    """The stream has something that is not known here; it is best left as it is."""


def without_zero_pages(stream: memoryview) -> Iterator[Buffer]:
    """The slices of a stream that says the same of a new machine, and says nothing of pages that are zero.

    Raises:
        StreamUnknown: While iterating: what was yielded so far is of no use.
    """
    try:
        yield from _slices(stream)
    except (struct.error, IndexError) as error:
        raise StreamUnknown("the stream ends too soon") from error


def _slices(stream: memoryview) -> Iterator[Buffer]:
    at, section_id, sizes = _first_section(stream)
    if GUEST_MEMORY not in sizes:
        raise StreamUnknown(f"no memory is called {GUEST_MEMORY.decode()}")
    has_content = bytearray(sizes[GUEST_MEMORY] // PAGE_BYTES)
    kept_from = 0
    block, named = b"", b""
    while stream[at] in (SECTION_PART, SECTION_END):
        kind, this_id = _SECTION.unpack_from(stream, at)
        if this_id != section_id:
            raise StreamUnknown(f"a section {this_id} within the memory's sections {section_id}")
        at += _SECTION.size
        while True:
            begins = at
            (word,) = _ENTRY.unpack_from(stream, at)
            at += _ENTRY.size
            flags, address = word & _FLAGS, word & ~_FLAGS
            if flags == END:
                break
            if not flags & SAME_BLOCK:
                block = bytes(stream[at + 1 : at + 1 + stream[at]])
                at += 1 + len(block)
            content = at
            kind_of_entry = flags & ~SAME_BLOCK
            if kind_of_entry not in (FILLED, PAGE):
                raise StreamUnknown(f"an entry with the flags {kind_of_entry:#x}")
            at += 1 if kind_of_entry == FILLED else PAGE_BYTES
            if block == GUEST_MEMORY:
                page = address // PAGE_BYTES
                if kind_of_entry == FILLED and stream[content] == 0 and not has_content[page]:
                    yield stream[kept_from:begins]
                    kept_from = at
                    continue
                has_content[page] = 1
            if flags & SAME_BLOCK and named != block:
                # The entry that named the block is gone.
                yield stream[kept_from:begins]
                yield _ENTRY.pack(address | flags & ~SAME_BLOCK) + bytes((len(block),)) + block
                kept_from = content
            named = block
        at = _after_footer(stream, at, section_id)
        if kind == SECTION_END:
            break
    yield stream[kept_from:]


def _first_section(stream: memoryview) -> tuple[int, int, dict[bytes, int]]:
    """Reads the section that names the blocks: where the next begins, the memory's section id, the blocks' sizes."""
    preface = bytes(stream[:_PREFACE_BYTES])
    name_at = preface.find(_MEMORY_SECTION)
    if not preface.startswith(MAGIC) or name_at < _SECTION.size:
        raise StreamUnknown("it does not begin as the streams of QEMU 7 do")
    kind, section_id = _SECTION.unpack_from(stream, name_at - _SECTION.size)
    at = name_at + len(_MEMORY_SECTION)
    (word,) = _ENTRY.unpack_from(stream, at)
    if kind != SECTION_START or word & _FLAGS != SIZES:
        raise StreamUnknown("the memory's first section does not begin with sizes")
    at += _ENTRY.size
    left = word & ~_FLAGS
    sizes: dict[bytes, int] = {}
    while left > 0:
        name = bytes(stream[at + 1 : at + 1 + stream[at]])
        at += 1 + len(name)
        (sizes[name],) = _ENTRY.unpack_from(stream, at)
        at += _ENTRY.size
        left -= sizes[name]
    if left or _ENTRY.unpack_from(stream, at) != (END,):
        raise StreamUnknown("the memory's sizes are followed by something else")
    return _after_footer(stream, at + _ENTRY.size, section_id), section_id, sizes


def _after_footer(stream: memoryview, at: int, section_id: int) -> int:
    if _SECTION.unpack_from(stream, at) != (FOOTER, section_id):
        raise StreamUnknown("a section of the memory has no footer")
    return at + _SECTION.size
