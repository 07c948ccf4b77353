"""What the kernel tells of devices that come and go."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress

NETLINK_KOBJECT_UEVENT = 15
FROM_KERNEL = 1
READ_BYTES = 8192


class Uevents:
    """Notices that something has happened to a device, from when it is made on."""

    def __init__(self, events: socket.socket) -> None:
        self._events = events

    async def wait(self) -> None:
        """Waits until something has happened since the last look."""
        with suppress(OSError):  # more has happened than there was room for
            await asyncio.get_running_loop().sock_recv(self._events, READ_BYTES)


@contextmanager
def listening() -> Generator[Uevents]:
    """Listens to the kernel while it is entered.

    Raises:
        OSError: It can't be listened to.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, FROM_KERNEL))
        yield Uevents(events)
