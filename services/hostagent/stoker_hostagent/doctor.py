"""Checks whether this host can run VMs, each with its fix."""

from collections.abc import Sequence
from dataclasses import dataclass

from stoker_hostagent.vm import VmSettings


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    fix: str
    """What to do; empty where nothing is to be done."""


async def run(settings: VmSettings) -> Sequence[Check]:
    """Looks at all there is to look at; takes half a minute at the most."""
    raise NotImplementedError
