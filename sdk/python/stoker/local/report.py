"""What a person sees of steps that may take a while."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

QUIET_S = 2.0
"""How long a step may take before something is shown of it, in seconds."""
AGAIN_S = 15.0
"""How long until it is shown once more, where there is no terminal, in seconds."""


@dataclass(slots=True)
class Step:
    """A step that is under way."""

    outcome: str = ""
    """What is said of it when it is done, beside its name."""


class Report:
    """Tells of steps, a line each, on a console that is a terminal or not."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Says a line."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def done(self, name: str, outcome: str, took: str = "") -> None:
        """Tells what came of a step."""
        text = f"[green]✓[/] {escape(name):24} {escape(outcome)}[dim]{took}[/]"
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Generator[Step]:
        """Tells of a step: that it goes on, when that takes longer than 2 s, and what came of it.

        A step that fails leaves no line: the error does.
        """
        begun_s = time.monotonic()
        step = Step()
        with self._running(name, begun_s):
            yield step
        took_s = time.monotonic() - begun_s
        self.done(name, step.outcome, f" ({took_s:.1f} s)" if took_s >= QUIET_S else "")

    @contextmanager
    def _running(self, name: str, begun_s: float) -> Generator[None]:
        if self._console.is_terminal:
            with self._console.status(f"{escape(name)} …"):
                yield
            return
        ended = threading.Event()
        teller = threading.Thread(target=self._tell, args=(name, begun_s, ended), daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def _tell(self, name: str, begun_s: float, ended: threading.Event) -> None:
        wait_s = QUIET_S
        while not ended.wait(wait_s):
            self.say(f"  {name} … {time.monotonic() - begun_s:.0f} s")
            wait_s = AGAIN_S
