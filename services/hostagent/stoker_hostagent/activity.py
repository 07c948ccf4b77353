"""What is under way in each VM that somebody waits for, so that what nobody waits for can be done in between."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Page:
    running: int = 0
    making: int = 0
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)


class Activity:
    """Counts what is under way. It is told of every invocation, and so does next to nothing then."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}

    @contextmanager
    def under_way(self, vm_id: str, *, is_making: bool = False) -> Generator[None]:
        """While it is entered, something is under way in a VM: a container is being made, or an invocation runs."""
        page = self._pages.get(vm_id)
        if page is None:
            page = self._pages[vm_id] = _Page()
        page.running += 1
        page.making += is_making
        page.has_begun.set()
        try:
            yield
        finally:
            page.running -= 1
            page.making -= is_making
            if not page.running:
                page.has_ended.set()

    def is_making(self, vm_id: str) -> bool:
        """Whether a container is being made for a version in a VM."""
        page = self._pages.get(vm_id)
        return page is not None and page.making > 0

    async def quiet(self, vm_id: str, *, for_s: float, within_s: float) -> bool:
        """Waits until nothing was under way in a VM for a while; returns whether that came to be within a time."""
        page = self._pages.setdefault(vm_id, _Page())
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + within_s
        while (left_s := give_up_s - loop.time()) > 0:
            page.has_begun.clear()
            page.has_ended.clear()
            if page.running:
                await _happens(page.has_ended, left_s)
            elif not await _happens(page.has_begun, min(for_s, left_s)):
                return left_s >= for_s
        return False

    def forget(self, vm_id: str) -> None:
        """Forgets a VM that is no more."""
        self._pages.pop(vm_id, None)


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
