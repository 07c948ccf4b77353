"""Lines on standard error that tell a person what is being done, and for how long already."""

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

HEARTBEAT_S = 5.0


class Progress:
    """Tells of steps, each beginning with the seconds since the start."""

    def __init__(self) -> None:
        """Starts the clock."""
        self._start_s = time.monotonic()

    def say(self, text: str) -> None:
        """Writes a line."""
        print(f"guest image: {time.monotonic() - self._start_s:4.0f} s  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def step(self, text: str) -> Generator[None]:
        """Tells of a step, and every few seconds that it still goes on, until the context is left."""
        self.say(text)
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(HEARTBEAT_S):
                self.say(f"still {text}")

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            is_over.set()
            heart.join()
