"""One artifact on its way to hosts: who has it, who gets it, and how far that is."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from stoker_codestore.fan_out import CODESTORE, Fetch, Limits, Spread, next_fetches

MAX_ATTEMPTS = 5
"""How often a host is told to fetch an artifact before it is left to fetch it on demand."""


@dataclass(frozen=True, slots=True)
class ArtifactKey:
    """A tenant's artifact."""

    tenant: str
    sha256: str


class Stage(Enum):
    """How far the delivery to a host is."""

    WAITING = "waiting"
    FETCHING = "fetching"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How the delivery to a host stands."""

    stage: Stage
    id: str = ""
    """The attempt's id, by which a report is known to be about it."""
    source: str = CODESTORE
    """The host it is fetched from."""
    lacking_bytes: int = 0
    fetched_bytes: int = 0
    message: str = ""
    """Why the last attempt failed."""
    attempts: int = 0
    told_s: float = 0.0
    """When it was last heard of."""


class Distribution:
    """The progress on all hosts. It has no clock of its own."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._codestore_copies = 0
        self._failed: set[Fetch] = set()

    @property
    def progress(self) -> Mapping[str, Progress]:
        """How the delivery to each host stands."""
        return self._progress

    @property
    def is_complete(self) -> bool:
        """Whether no host is still to get it."""
        return all(progress.stage in (Stage.DELIVERED, Stage.FAILED) for progress in self._progress.values())

    def holders(self) -> list[str]:
        """The hosts that have it."""
        return [host for host, progress in self._progress.items() if progress.stage is Stage.DELIVERED]

    def serving(self) -> Counter[str]:
        """How many others each host sends it to."""
        return Counter(progress.source for progress in self._progress.values() if progress.stage is Stage.FETCHING)

    def want(self, host: str) -> None:
        """Says that a host is to get it. One that has it, or gets it, is left alone."""
        progress = self._progress.get(host)
        if progress is None or progress.stage is Stage.FAILED:
            self._progress[host] = Progress(Stage.WAITING)

    def delivered(self, host: str, now_s: float) -> None:
        """Says that a host has it."""
        before = self._progress.get(host, Progress(Stage.DELIVERED))
        self._progress[host] = replace(before, stage=Stage.DELIVERED, told_s=now_s)

    def fetched(self, host: str, delivery_id: str, lacking_bytes: int, fetched_bytes: int, now_s: float) -> None:
        """Says how far a host is."""
        if progress := self._running(host, delivery_id):
            self._progress[host] = replace(
                progress, lacking_bytes=lacking_bytes, fetched_bytes=fetched_bytes, told_s=now_s
            )

    def failed(self, host: str, delivery_id: str, message: str) -> None:
        """Says that an attempt came to nothing. Another is made, from another source if there is one."""
        if not (progress := self._running(host, delivery_id)):
            return
        if progress.source != CODESTORE:
            self._failed.add(Fetch(host, progress.source))
        stage = Stage.FAILED if progress.attempts >= MAX_ATTEMPTS else Stage.WAITING
        # Now it is the last that waits.
        del self._progress[host]
        self._progress[host] = replace(progress, stage=stage, id="", message=message)

    def forget(self, host: str) -> None:
        """Says that a host has it no more, or is gone. Who fetches from it will say so."""
        self._progress.pop(host, None)
        self._failed = {fetch for fetch in self._failed if host not in (fetch.host, fetch.source)}

    def stalled(self, before_s: float) -> list[str]:
        """The hosts that fetch and have not been heard of since."""
        return [
            host
            for host, progress in self._progress.items()
            if progress.stage is Stage.FETCHING and progress.told_s < before_s
        ]

    def begin(
        self, reachable: Collection[str], serving: Counter[str], limits: Limits, now_s: float
    ) -> dict[str, Progress]:
        """Begins what can be begun now; returns it, by host.

        Args:
            reachable: The hosts that can be told.
            serving: How many others each host serves now, over all artifacts.
            limits: How much anybody sends.
            now_s: The time.
        """
        running = [
            Fetch(host, progress.source)
            for host, progress in self._progress.items()
            if progress.stage is Stage.FETCHING
        ]
        waiting = [
            host for host, progress in self._progress.items() if progress.stage is Stage.WAITING and host in reachable
        ]
        holders = [host for host in self.holders() if host in reachable]
        spread = Spread(waiting, running, holders, self._codestore_copies, self._failed)
        begun: dict[str, Progress] = {}
        for fetch in next_fetches(spread, serving, limits):
            before = self._progress[fetch.host]
            begun[fetch.host] = Progress(
                Stage.FETCHING,
                uuid.uuid4().hex,
                fetch.source,
                message=before.message,
                attempts=before.attempts + 1,
                told_s=now_s,
            )
            # What one that failed had fetched of the codestore it still has; it does not get all of it again.
            if fetch.source == CODESTORE and before.attempts == 0:
                self._codestore_copies += 1
        self._progress.update(begun)
        return begun

    def _running(self, host: str, delivery_id: str) -> Progress | None:
        progress = self._progress.get(host)
        is_it = progress is not None and progress.stage is Stage.FETCHING and progress.id == delivery_id
        return progress if is_it else None
