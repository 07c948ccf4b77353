"""Making the VM small and still before its memory is saved as a template.

A page of zeros costs a template nothing, and each other page costs every clone the time to read it. So what can be read
again from the disk is dropped, and what the kernel has freed, and not wiped, is filled with zeros.
"""

import gc
import mmap
import os
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
PAGES_AND_INODES = "3"
MEMORY = Path("/proc/meminfo")
CHUNK_BYTES = 8 * 1024 * 1024
SPARED_BYTES = 12 * 1024 * 1024
"""What is left free, so that the kernel need not look for memory: it would end a container."""


def quiesce() -> None:
    """Drops what can be had again, and wipes what is free. Takes a few seconds, in which nothing else is done."""
    gc.collect()
    os.sync()
    DROP_CACHES.write_text(PAGES_AND_INODES)
    wipe_free_memory()


def wipe_free_memory() -> None:
    """Fills what is free with zeros, by taking it: whatever the kernel gives a process it wipes first."""
    taken: list[mmap.mmap] = []
    try:
        while free_bytes() > SPARED_BYTES + CHUNK_BYTES:
            taken.append(mmap.mmap(-1, CHUNK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
    finally:
        for chunk in taken:
            chunk.close()


def free_bytes() -> int:
    """Memory that nothing uses, not even as a cache."""
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("MemFree:"))
    return int(line.split()[1]) * 1024
