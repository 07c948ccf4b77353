"""What a function printed on all hosts, as one stream."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_frontend import errors

log = structlog.get_logger()

DEFAULT_LIMIT = 100
LOOK_FOR_HOSTS_S = 5.0
"""How often new hosts, and lost ones that are back, are looked for while following, in seconds."""
READ_AT_ONCE = 32
MAX_UNREAD = 1000
MAX_TAILS = 64
MAX_KEPT_CHARACTERS = 8 * 1024 * 1024
"""How much is kept for one caller before the first line is passed on; what is older is left out."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a function printed."""

    time_ns: int
    """When its host read it, since 1970."""
    version: int
    invocation_id: str
    container: str
    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class HostAddress:
    """A connected host, and where its agent answers."""

    id: str
    address: str


class HostList(Protocol):
    """Who knows the hosts: the scheduler."""

    async def hosts(self) -> Sequence[HostAddress]:
        """The connected hosts, or raises StokerError."""
        ...


class HostLogs(Protocol):
    """Who reads one host's lines."""

    def read(
        self, address: str, tenant: str, function: str, *, limit: int, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yields a host's kept lines, oldest first, then, with `follow`, new ones; or raises StokerError."""
        ...


@dataclass(slots=True)
class _Seen:
    """Up to where a host's lines have been passed on."""

    time_ns: int
    at_that_time: int = 0
    """How many lines of just that time."""

    def add(self, line: LogLine) -> None:
        self.at_that_time = self.at_that_time + 1 if line.time_ns == self.time_ns else 1
        self.time_ns = line.time_ns


def newest(of_hosts: Sequence[Sequence[LogLine]], limit: int) -> list[LogLine]:
    """The newest lines of all hosts, `limit` at the most, oldest first; each host's must be in that order already."""
    merged = list(heapq.merge(*of_hosts, key=lambda line: line.time_ns))
    return merged[-limit:]


class Logs:
    """The lines of all hosts."""

    def __init__(self, host_list: HostList, host_logs: HostLogs, background: Background) -> None:
        self._host_list = host_list
        self._host_logs = host_logs
        self._background = background
        self._tails = 0
        self._following: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Ends all following, which would go on for ever."""
        self._is_stopping = True
        for following in self._following:
            following.cancel()

    async def tail(self, tenant: str, function: str, *, limit: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        """Yields the newest kept lines, oldest first; with `follow`, also those to come, for ever.

        A host that cannot be read is left out; while following, it is read from where it stopped when it is back.

        Raises:
            StokerError: SCHEDULER_UNAVAILABLE, TOO_MANY_TAILS; FRONTEND_STOPPING while following.
        """
        if self._tails >= MAX_TAILS:
            raise errors.too_many_tails(MAX_TAILS)
        self._tails += 1
        try:
            async with aclosing(self._tail(tenant, function, limit, follow)) as lines:
                async for line in lines:
                    yield line
        finally:
            self._tails -= 1

    async def _tail(self, tenant: str, function: str, limit: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        begun_ns = time.time_ns()
        hosts = await self._host_list.hosts()
        gate = asyncio.Semaphore(READ_AT_ONCE)
        room = MAX_KEPT_CHARACTERS // max(1, len(hosts))
        kept = await asyncio.gather(*(self._kept(host, tenant, function, limit, room, gate) for host in hosts))
        for line in newest([lines or [] for lines in kept], limit):
            yield line
        if not follow:
            return
        seen: dict[str, _Seen] = {}
        for host, lines in zip(hosts, kept, strict=True):
            seen[host.id] = _Seen(begun_ns if lines is None else 0)
            for line in lines or ():
                seen[host.id].add(line)
        if self._is_stopping:
            raise errors.frontend_stopping()
        unread: asyncio.Queue[LogLine | None] = asyncio.Queue(MAX_UNREAD)
        following = self._background.start(
            self._follow(tenant, function, seen, begun_ns, unread), f"follow logs of {tenant}/{function}"
        )
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        following.add_done_callback(lambda _: _end(unread))
        try:
            while (line := await unread.get()) is not None:
                yield line
        finally:
            following.cancel()
        raise errors.frontend_stopping()

    async def _kept(
        self, host: HostAddress, tenant: str, function: str, limit: int, room: int, gate: asyncio.Semaphore
    ) -> Sequence[LogLine] | None:
        kept: deque[LogLine] = deque()
        try:
            async with gate, aclosing(self._read(host, tenant, function, limit, follow=False)) as lines:
                async for line in lines:
                    kept.append(line)
                    room -= len(line.line)
                    while room < 0:
                        room += len(kept.popleft().line)
            return kept
        except StokerError as error:
            log.warning("logs.host_left_out", host=host.id, reason=error.reason)
            return None

    async def _follow(
        self, tenant: str, function: str, seen: dict[str, _Seen], begun_ns: int, unread: asyncio.Queue[LogLine | None]
    ) -> None:
        """Follows every host there is, and looks now and then for others."""
        async with asyncio.TaskGroup() as group:
            followed: dict[str, asyncio.Task[None]] = {}
            while True:
                for host in await self._hosts_now():
                    task = followed.get(host.id)
                    if task is None or task.done():
                        of_host = seen.setdefault(host.id, _Seen(begun_ns))
                        followed[host.id] = group.create_task(
                            self._follow_host(host, tenant, function, of_host, unread)
                        )
                await asyncio.sleep(LOOK_FOR_HOSTS_S)

    async def _hosts_now(self) -> Sequence[HostAddress]:
        try:
            return await self._host_list.hosts()
        except StokerError:
            # Those that are being followed go on; new ones are looked for again soon.
            return ()

    async def _follow_host(
        self, host: HostAddress, tenant: str, function: str, seen: _Seen, unread: asyncio.Queue[LogLine | None]
    ) -> None:
        # The host begins with lines that have been passed on already.
        is_old, seen_ns, to_skip = True, seen.time_ns, seen.at_that_time
        try:
            async with aclosing(self._read(host, tenant, function, MAX_UNREAD, follow=True)) as lines:
                async for line in lines:
                    if is_old and line.time_ns < seen_ns:
                        continue
                    if is_old and line.time_ns == seen_ns and to_skip > 0:
                        to_skip -= 1
                        continue
                    is_old = False
                    seen.add(line)
                    await unread.put(line)
        except StokerError as error:
            log.warning("logs.host_lost", host=host.id, reason=error.reason)

    def _read(
        self, host: HostAddress, tenant: str, function: str, limit: int, *, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        return self._host_logs.read(host.address, tenant, function, limit=limit, follow=follow)


def _end(unread: "asyncio.Queue[LogLine | None]") -> None:
    """Says that no more lines come, in the last's place where there is no room."""
    if unread.full():
        unread.get_nowait()
    unread.put_nowait(None)
