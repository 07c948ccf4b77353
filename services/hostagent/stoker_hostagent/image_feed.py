"""Giving libvirt a saved image through a pipe: a header of one's own, then the memory as it lies in a file.

libvirt reads the header, and gives what it has open to QEMU, which reads on. Neither looks back, so that a pipe does as
well as a file: each clone has its own header, and nothing of the memory's 150 MB is copied on the way (the pipe takes
the pages that the kernel's cache holds of the file).
"""

import asyncio
import fcntl
import os
import select
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

PIPE_BYTES = 1024 * 1024
"""How much the pipe holds, so that neither side waits often. The largest that Linux allows by default."""


@asynccontextmanager
async def feeding(pipe: Path, header: bytes, image: Path, stream_offset: int) -> AsyncGenerator[Path]:
    """While it is entered, whoever opens `pipe` reads `header`, and then `image` from `stream_offset` to its end.

    On leaving, the pipe is gone, also for a reader that has not read all.

    Raises:
        OSError: The image cannot be opened; on leaving: it could not be read.
    """
    os.mkfifo(pipe, 0o600)
    try:
        reading = image.open("rb", buffering=0)
        # A pipe that is open for writing lets readers open it at once, and ends for them when the writer does.
        writing = os.fdopen(os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), "wb", buffering=0)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        stop = os.eventfd(0, os.EFD_CLOEXEC)
        loop = asyncio.get_running_loop()
        feed = loop.run_in_executor(None, _feed, writing, header, reading, stream_offset, stop)
        try:
            yield pipe
        finally:
            os.eventfd_write(stop, 1)
            await asyncio.wait([feed])
            os.close(stop)
        feed.result()
    finally:
        discard(pipe)


def discard(pipe: Path) -> None:
    """Removes a pipe, and releases whoever waits for somebody to write to it. One that is not there is no error."""
    try:
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        return
    pipe.unlink(missing_ok=True)


def _feed(writing: FileIO, header: bytes, reading: FileIO, offset: int, stop: int) -> None:
    """Writes until all is written or `stop` says so, and closes both files.

    An image is larger than the pipe: when all of it is written, the reader has come.
    """
    with writing, reading:
        room = select.poll()
        room.register(writing, select.POLLOUT)
        room.register(stop, select.POLLIN)
        unsent = memoryview(header)
        size = os.fstat(reading.fileno()).st_size
        while unsent or offset < size:
            if any(file == stop for file, _ in room.poll()):
                return
            try:
                if unsent:
                    unsent = unsent[writing.write(unsent) or 0 :]
                else:
                    offset += os.splice(
                        reading.fileno(), writing.fileno(), size - offset, offset, flags=os.SPLICE_F_NONBLOCK
                    )
            except BlockingIOError:
                continue
