"""Work that is done to its end, whoever stops waiting for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Awaits work that takes a bounded time. Where the caller is cancelled meanwhile, that happens when it is done.

    A SQLite connection that is cancelled, and cancelled again while it is closed for that, leaves a task that never
    ends (aiosqlite 0.22 with SQLAlchemy 2.1), and the event loop waits for it. So what runs all the time is not cut
    off.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            # It has been waited for, so that what it raised is not lost unseen.
            task.exception()
        raise
