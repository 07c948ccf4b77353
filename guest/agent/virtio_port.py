"""The virtio-serial port, as a byte stream for asyncio.

A port isn't a connection: it is opened once and stays open while hosts come and go. While none is there reads return
nothing and polls say "hang-up" again and again, so that only then the port is watched edge-triggered: each change wakes
once.
"""

import asyncio
import os
import select
from collections import deque
from pathlib import Path

PORTS = Path("/sys/class/virtio-ports")
WRITE_BYTES = 32 * 1024
"""What the kernel takes at once."""


def open_port(name: str) -> "VirtioPort":
    """Opens the port that the hypervisor gave this name.

    Raises:
        FileNotFoundError: There is none.
    """
    for port in sorted(PORTS.glob("*")):
        if (port / "name").read_text().strip() == name:
            return VirtioPort(os.open(Path("/dev") / port.name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    raise FileNotFoundError(f"no virtio-serial port is named {name}; the VM's configuration must give it one")


class VirtioPort:
    """An open port, both a `Reader` and a `Writer` of `stoker_ttrpc.streams`."""

    def __init__(self, file: int) -> None:
        """Takes an open port, whose calls do not block."""
        self._file = file
        self._hang_up = select.poll()
        self._hang_up.register(self._file, 0)
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Future[None] | None = None
        self._is_watched = False
        self._writable = asyncio.Event()
        self._unsent: deque[memoryview] = deque()
        self._is_lost = False

    async def wait_for_host(self) -> None:
        """Returns when a host has opened its end. What was meant for an earlier one is forgotten."""
        self._unsent.clear()
        has_changed = asyncio.Event()
        with select.epoll() as changes:
            changes.register(self._file, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
            self._loop.add_reader(changes.fileno(), has_changed.set)
            try:
                while self._has_no_host():
                    has_changed.clear()
                    changes.poll(0)
                    if self._has_no_host():
                        await has_changed.wait()
            finally:
                self._loop.remove_reader(changes.fileno())
        self._is_lost = False

    async def read(self, n: int) -> bytes:
        """Up to `n` bytes as soon as there are some; none when the host has closed its end."""
        while not self._is_lost:
            if not self._is_watched:
                self._is_watched = True
                self._loop.add_reader(self._file, self._take_readable)
            self._reading = self._loop.create_future()
            await self._reading
            if self._is_lost:
                break
            try:
                data = os.read(self._file, n)
            except BlockingIOError:
                continue
            except OSError:
                # So it is with a port that has been unplugged.
                data = b""
            if not data:
                self._lose_host()
            return data
        return b""

    def write(self, data: bytes) -> None:
        """Takes bytes, which are sent as the host takes them."""
        self._unsent.append(memoryview(data))
        self._flush()

    async def drain(self) -> None:
        """Returns when all bytes have been handed over.

        Raises:
            ConnectionResetError: The host has closed its end.
        """
        while self._unsent:
            self._writable.clear()
            await self._writable.wait()
        if self._is_lost:
            raise ConnectionResetError("the host has closed the port")

    def _take_readable(self) -> None:
        if self._reading is None or self._reading.done():
            # Nobody reads just now, and the port would say so again and again.
            self._unwatch()
        else:
            self._reading.set_result(None)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._file)

    def _flush(self) -> None:
        while self._unsent:
            first = self._unsent[0]
            try:
                sent = os.write(self._file, first[:WRITE_BYTES])
            except BlockingIOError:
                if self._has_no_host():
                    self._lose_host()
                else:
                    self._loop.add_writer(self._file, self._go_on_writing)
                return
            if sent < len(first):
                self._unsent[0] = first[sent:]
            else:
                self._unsent.popleft()
        self._writable.set()

    def _go_on_writing(self) -> None:
        self._loop.remove_writer(self._file)
        self._flush()

    def _lose_host(self) -> None:
        self._is_lost = True
        self._unsent.clear()
        self._writable.set()
        self._unwatch()
        self._loop.remove_writer(self._file)
        # Also where it was noticed by writing: whoever reads would wait for ever.
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def _has_no_host(self) -> bool:
        return any(event & select.POLLHUP for _, event in self._hang_up.poll(0))
