"""Artifacts on their way to the hosts that watch this codestore.

All of it is in memory: a host tells what it has when its watch begins, and gets then what it should have.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

import structlog
from stoker_service.errors import StokerError

from stoker_codestore import errors
from stoker_codestore.distribution import ArtifactKey, Distribution, Progress
from stoker_codestore.fan_out import CODESTORE, Limits

log = structlog.get_logger()

MAX_UNTOLD = 1024
"""How many deliveries may wait for one host to read them before its watch is ended."""
STALL_S = 30.0
"""How long a host may say nothing of a delivery before that counts as failed, in seconds."""
STALLS_EVERY_S = 5.0
MAX_PEERS = 3
"""How many hosts are named to one that fetches on demand."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host, as it says at the beginning of its watch."""

    id: str
    address: str
    tenants: frozenset[str]
    """Those that have VMs there."""
    artifacts: frozenset[ArtifactKey]
    """What its code cache holds."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a host is told to fetch."""

    id: str
    artifact: ArtifactKey
    peer: str
    """The address to fetch chunks from; empty for the codestore."""


@dataclass(slots=True, eq=False)
class _Watcher:
    host: Host
    orders: list[Order] = field(default_factory=list[Order])
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ended: StokerError | None = None

    def end(self, error: StokerError) -> None:
        self.ended = error
        self.orders.clear()
        self.woken.set()


class Deliveries:
    """All that is on its way, and the hosts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._watchers: dict[str, _Watcher] = {}
        self._held: defaultdict[str, set[ArtifactKey]] = defaultdict(set)
        """What each host has, or is to get."""
        self._artifacts: defaultdict[ArtifactKey, Distribution] = defaultdict(Distribution)
        self._changes: defaultdict[ArtifactKey, set[asyncio.Event]] = defaultdict(set)
        self._open: set[ArtifactKey] = set()
        """Those that a host waits for or fetches."""
        self._is_over = False

    def hosts(self) -> Collection[Host]:
        """The hosts that watch."""
        return [watcher.host for watcher in self._watchers.values()]

    def held_by(self, host: str) -> Set[ArtifactKey]:
        """What a host has, or is to get."""
        return self._held.get(host, set())

    async def watch(self, host: Host) -> AsyncGenerator[Order | None]:
        """Yields None once the watch has begun, then what the host is to fetch. A host's later watch ends its earlier.

        Raises:
            StokerError: WATCH_ENDED.
        """
        if self._is_over:
            raise errors.watch_ended("the codestore stops")
        if earlier := self._watchers.get(host.id):
            earlier.end(errors.watch_ended("the host watches anew"))
            self._forget(host.id)
        watcher = self._watchers[host.id] = _Watcher(host)
        log.info("host.watching", host=host.id, address=host.address, artifacts=len(host.artifacts))
        try:
            for artifact in host.artifacts:
                self._note_held(host.id, artifact)
            self._begin_all()
            yield None
            while True:
                await watcher.woken.wait()
                watcher.woken.clear()
                while watcher.orders:
                    yield watcher.orders.pop(0)
                if watcher.ended is not None:
                    raise watcher.ended
        finally:
            if self._watchers.get(host.id) is watcher:
                del self._watchers[host.id]
                self._forget(host.id)
                log.info("host.gone", host=host.id)

    def want(self, artifact: ArtifactKey, hosts: Iterable[str]) -> None:
        """Has an artifact delivered to those of the hosts that watch and have it not."""
        for host in hosts:
            if host in self._watchers:
                self._artifacts[artifact].want(host)
                self._held[host].add(artifact)
                self._open.add(artifact)
        self._begin_all()

    def delivered(self, host: str, artifact: ArtifactKey) -> None:
        """Notes that a host has an artifact."""
        if host in self._watchers:
            self._note_held(host, artifact)
            self._begin_all()

    def gone(self, host: str, artifact: ArtifactKey) -> None:
        """Notes that a host has an artifact no more."""
        if artifact in self._artifacts:
            self._artifacts[artifact].forget(host)
            self._held[host].discard(artifact)
            self._settle(artifact)

    def fetched(
        self, host: str, artifact: ArtifactKey, delivery_id: str, lacking_bytes: int, fetched_bytes: int
    ) -> None:
        """Notes how far a delivery is."""
        if artifact in self._artifacts:
            self._artifacts[artifact].fetched(host, delivery_id, lacking_bytes, fetched_bytes, _now_s())
            self._settle(artifact)

    def failed(self, host: str, artifact: ArtifactKey, delivery_id: str, message: str) -> None:
        """Notes that a delivery came to nothing."""
        if artifact in self._artifacts:
            log.warning("delivery.failed", host=host, sha256=artifact.sha256, message=message)
            self._artifacts[artifact].failed(host, delivery_id, message)
            self._begin_all()

    def peers_of(self, artifact: ArtifactKey, asking: str) -> list[str]:
        """The addresses of a few hosts that have an artifact, others each time."""
        if artifact not in self._artifacts:
            return []
        holders = [host for host in self._artifacts[artifact].holders() if host != asking and host in self._watchers]
        random.shuffle(holders)
        return [self._watchers[host].host.address for host in holders[:MAX_PEERS]]

    async def follow(self, artifact: ArtifactKey) -> AsyncGenerator[tuple[Mapping[str, Progress], bool]]:
        """Yields how things stand on each host, and whether that is all, now and at each change, until it is."""
        woken = asyncio.Event()
        told: tuple[Mapping[str, Progress], bool] | None = None
        self._changes[artifact].add(woken)
        try:
            while True:
                woken.clear()
                distribution = self._artifacts[artifact] if artifact in self._artifacts else Distribution()
                is_complete = distribution.is_complete or self._is_over
                now = (dict(distribution.progress), is_complete)
                if now != told:
                    yield now
                    told = now
                if is_complete:
                    return
                await woken.wait()
        finally:
            self._changes[artifact].discard(woken)
            if not self._changes[artifact]:
                del self._changes[artifact]

    async def run(self) -> None:
        """Calls deliveries failed that stand still, until it is cancelled."""
        while True:
            await asyncio.sleep(STALLS_EVERY_S)
            for artifact, distribution in list(self._artifacts.items()):
                for host in distribution.stalled(_now_s() - STALL_S):
                    attempt = distribution.progress[host].id
                    self.failed(host, artifact, attempt, f"nothing was heard of it for {STALL_S:g} s")

    def stop(self) -> None:
        """Ends all watches for good."""
        self._is_over = True
        for watcher in self._watchers.values():
            watcher.end(errors.watch_ended("the codestore stops"))
        for followers in self._changes.values():
            for woken in followers:
                woken.set()

    def _note_held(self, host: str, artifact: ArtifactKey) -> None:
        self._held[host].add(artifact)
        self._artifacts[artifact].delivered(host, _now_s())
        self._settle(artifact)

    def _forget(self, host: str) -> None:
        for artifact in self._held.pop(host, set()):
            self._artifacts[artifact].forget(host)
            self._settle(artifact)
        self._begin_all()

    def _begin_all(self) -> None:
        """Begins what can be begun. What has changed for one artifact may let another go ahead."""
        serving: Counter[str] = Counter()
        for artifact in self._open:
            serving += self._artifacts[artifact].serving()
        for artifact in list(self._open):
            begun = self._artifacts[artifact].begin(self._watchers.keys(), serving, self._limits, _now_s())
            for host, progress in begun.items():
                if progress.source != CODESTORE:
                    serving[progress.source] += 1
                self._tell(self._watchers[host], artifact, progress)
            self._settle(artifact)

    def _settle(self, artifact: ArtifactKey) -> None:
        """Forgets what is done, and tells those who follow it."""
        distribution = self._artifacts[artifact]
        if distribution.is_complete:
            self._open.discard(artifact)
        if not distribution.progress:
            del self._artifacts[artifact]
        for woken in self._changes.get(artifact, ()):
            woken.set()

    def _tell(self, watcher: _Watcher, artifact: ArtifactKey, progress: Progress) -> None:
        if watcher.ended is not None:
            return
        peer = self._watchers[progress.source].host.address if progress.source != CODESTORE else ""
        watcher.orders.append(Order(progress.id, artifact, peer))
        if len(watcher.orders) > MAX_UNTOLD:
            watcher.end(errors.watch_ended(f"more than {MAX_UNTOLD} deliveries wait to be read"))
        watcher.woken.set()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
