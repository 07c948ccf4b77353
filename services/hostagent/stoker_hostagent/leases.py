"""The right to send invocations to a container, and how it outlives a restart of the host agent."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import structlog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send invocations to one container for a while."""

    id: str
    holder: str
    """The frontend that has it."""


class LeaseFile:
    """The leases by container, in one file that is replaced whole.

    It is written shortly after each change. What the last moments before a kill changed may be lost; then an order is
    refused that could have been taken, and its frontend acquires another container.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leases: dict[str, Lease] = {}
        self._has_changed = asyncio.Event()

    async def read(self) -> dict[str, Lease]:
        """The leases that an earlier run left; none where the file is missing or damaged."""
        return await asyncio.to_thread(_read, self._path)

    def note(self, container: str, lease: Lease | None) -> None:
        """Takes note of the lease of a container, for `run` to write."""
        if self._leases.get(container) == lease:
            return
        if lease is None:
            del self._leases[container]
        else:
            self._leases[container] = lease
        self._has_changed.set()

    async def run(self) -> None:
        """Writes what has changed, until it is cancelled."""
        while True:
            await self._has_changed.wait()
            await self.write()

    async def write(self) -> None:
        """Writes the leases as they are now."""
        self._has_changed.clear()
        try:
            await asyncio.to_thread(_write, self._path, dict(self._leases))
        except OSError as error:
            log.error("leases.not_written", path=str(self._path), message=str(error))


def _read(path: Path) -> dict[str, Lease]:
    try:
        kept = cast("dict[str, dict[str, str]]", json.loads(path.read_bytes()))
        return {container: Lease(lease["id"], lease["holder"]) for container, lease in kept.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        log.warning("leases.file_damaged", path=str(path), message=str(error))
        return {}


def _write(path: Path, leases: Mapping[str, Lease]) -> None:
    kept = {container: {"id": lease.id, "holder": lease.holder} for container, lease in leases.items()}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(kept), encoding="utf-8")
    part.replace(path)
