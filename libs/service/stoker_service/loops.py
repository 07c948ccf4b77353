"""The event loop of the services through which invocations go: uvloop's, written in C.

It takes a quarter less of the processor for each invocation, in the frontend and in the host agent (November 2026).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs a program's main coroutine, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
