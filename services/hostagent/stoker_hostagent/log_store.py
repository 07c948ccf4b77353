"""What functions printed on this host: kept on disk within bounds, and passed on to those who follow.

Lines are taken in memory and written shortly after, in batches, by one task. A follower reads what is written from the
place in the file up to which it has read, at its own pace; so it has no queue, and misses nothing that is still kept.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from stoker_hostagent import log_segments
from stoker_hostagent.log_segments import LogLine, Segment
from stoker_hostagent.names import check_name
from stoker_hostagent.versions import Version

log = structlog.get_logger()

SEGMENTS_PER_FUNCTION = 8
"""Into how many segments a full log is divided; the oldest goes when there is no more room."""
MAX_UNWRITTEN_BYTES = 16 * 1024 * 1024
READ_BYTES = 256 * 1024
LINE_OVERHEAD_BYTES = 128
MAX_LINE_LENGTH = 16 * 1024
MAX_ID_LENGTH = 64


@dataclass(slots=True)
class _FunctionLog:
    directory: Path
    segments: list[Segment] = field(default_factory=list[Segment])
    can_append: bool = False
    """Whether the last segment may be added to."""
    last_ns: int = 0
    unwritten: list[LogLine] = field(default_factory=list[LogLine])
    dropped: int = 0
    removed: Segment | None = None
    """The segment that was removed last."""
    followers: int = 0
    has_more: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and then replaced, when lines have been written."""

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)

    def has_removed_after(self, first_ns: int, offset: int) -> bool:
        """Whether lines after that place in that segment have been removed."""
        removed = self.removed
        return removed is not None and (removed.first_ns, removed.size_bytes) > (first_ns, offset)

    def wake_followers(self) -> None:
        self.has_more.set()
        self.has_more = asyncio.Event()


class LogStore:
    """The lines of all functions on this host."""

    def __init__(
        self,
        directory: Path,
        *,
        max_function_bytes: int,
        max_total_bytes: int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Begins empty; `open` finds what is on the disk.

        Args:
            directory: Where the lines are kept.
            max_function_bytes: How much is kept of one function, at the most.
            max_total_bytes: How much is kept of all functions, at the most.
            now_ns: Tells the time in nanoseconds since 1970.
        """
        self._directory = directory
        self._max_function_bytes = max_function_bytes
        self._max_segment_bytes = max(1, max_function_bytes // SEGMENTS_PER_FUNCTION)
        self._max_total_bytes = max_total_bytes
        self._now_ns = now_ns
        self._logs: dict[tuple[str, str], _FunctionLog] = {}
        self._unwritten_bytes = 0
        self._total_bytes = 0
        self._has_unwritten = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_closed = False

    async def open(self) -> None:
        """Finds what an earlier run has kept."""
        found = await asyncio.to_thread(log_segments.find, self._directory)
        for key, segments in found.items():
            last = await asyncio.to_thread(log_segments.read_last, segments[-1:], 1)
            last_ns = last[-1].time_ns if last else segments[-1].first_ns
            self._logs[key] = _FunctionLog(segments[0].path.parent, segments, last_ns=last_ns)
            self._total_bytes += self._logs[key].size_bytes

    def add(
        self, version: Version, container: str, invocation_id: str, stream: str, lines: Sequence[str], dropped: int
    ) -> None:
        """Takes lines that a container printed, after `dropped` others that were lost on the way.

        Long lines are cut. Where more come than can be written, lines are dropped, which a line in their place says.
        """
        invocation_id, stream = invocation_id[:MAX_ID_LENGTH], stream[:MAX_ID_LENGTH]
        function_log = self._log_of(version.tenant, version.function)
        function_log.dropped += dropped
        for text in lines:
            if self._unwritten_bytes >= MAX_UNWRITTEN_BYTES:
                function_log.dropped += 1
                continue
            texts = (_gap_text(function_log.dropped), text) if function_log.dropped else (text,)
            function_log.dropped = 0
            for one in texts:
                function_log.last_ns = max(self._now_ns(), function_log.last_ns + 1)
                line = LogLine(
                    function_log.last_ns, version.number, invocation_id, container, stream, one[:MAX_LINE_LENGTH]
                )
                function_log.unwritten.append(line)
                self._unwritten_bytes += _memory_of(line)
        self._has_unwritten.set()

    async def read(self, tenant: str, function: str, *, limit: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        """Yields the last `limit` lines, oldest first, then, with `follow`, new ones until the store is closed.

        Raises:
            StokerError: INVALID_FIELD, for a name that no tenant or function can have.
        """
        if not follow and (tenant, function) not in self._logs:
            return
        function_log = self._log_of(tenant, function)
        function_log.followers += 1
        try:
            await self.write()
            kept = tuple(function_log.segments)
            for line in await asyncio.to_thread(log_segments.read_last, kept, limit):
                yield line
            if follow:
                async for line in self._follow(function_log, kept[-1] if kept else None):
                    yield line
        finally:
            function_log.followers -= 1
            self._forget_unused(tenant, function)

    async def _follow(self, function_log: _FunctionLog, last: Segment | None) -> AsyncGenerator[LogLine, None]:
        """Yields the lines after the end of a segment, or all where there was none, as they are written."""
        at_ns, offset = (last.first_ns, last.size_bytes) if last else (0, 0)
        version = 0
        while not self._is_closed:
            has_more = function_log.has_more
            segment = next((one for one in function_log.segments if one.first_ns >= at_ns), None)
            if segment is not None and segment.first_ns == at_ns and offset >= segment.size_bytes:
                segment = next((one for one in function_log.segments if one.first_ns > at_ns), None)
            if segment is None:
                await has_more.wait()
                continue
            if segment.first_ns != at_ns:
                misses_some = function_log.has_removed_after(at_ns, offset)
                at_ns, offset = segment.first_ns, 0
                if misses_some:
                    yield LogLine(at_ns, version, "", "", "stderr", _gap_text())
            lines, offset = await asyncio.to_thread(log_segments.read, segment, offset, READ_BYTES)
            for line in lines:
                version = line.version
                yield line

    def close(self) -> None:
        """Ends all who follow."""
        self._is_closed = True
        for function_log in self._logs.values():
            function_log.wake_followers()

    async def run(self) -> None:
        """Writes what comes, until it is cancelled."""
        while True:
            await self._has_unwritten.wait()
            await self.write()

    async def write(self) -> None:
        """Writes what has come so far; what cannot be written is dropped."""
        async with self._writing:
            self._has_unwritten.clear()
            for function_log in [one for one in self._logs.values() if one.unwritten]:
                await self._write(function_log)
            while self._total_bytes > self._max_total_bytes:
                logs = [one for one in self._logs.values() if one.segments]
                await self._remove_oldest(min(logs, key=lambda one: one.segments[0].first_ns))

    async def _write(self, function_log: _FunctionLog) -> None:
        lines, function_log.unwritten = function_log.unwritten, []
        self._unwritten_bytes -= sum(map(_memory_of, lines))
        while lines:
            if not function_log.can_append or function_log.segments[-1].size_bytes >= self._max_segment_bytes:
                path = log_segments.segment_path(function_log.directory, lines[0].time_ns)
                function_log.segments.append(Segment(path, 0))
            last = function_log.segments[-1]
            part, count = _encode(lines, self._max_segment_bytes - last.size_bytes)
            try:
                await asyncio.to_thread(log_segments.append, last.path, part)
            except OSError as error:
                function_log.can_append = False
                function_log.dropped += len(lines)
                log.error("logs.not_written", path=str(last.path), message=str(error))
                return
            lines = lines[count:]
            function_log.can_append = True
            function_log.segments[-1] = Segment(last.path, last.size_bytes + len(part))
            self._total_bytes += len(part)
            while len(function_log.segments) > 1 and function_log.size_bytes > self._max_function_bytes:
                await self._remove_oldest(function_log)
            function_log.wake_followers()

    async def _remove_oldest(self, function_log: _FunctionLog) -> None:
        oldest = function_log.segments.pop(0)
        function_log.can_append = function_log.can_append and bool(function_log.segments)
        function_log.removed = oldest
        self._total_bytes -= oldest.size_bytes
        await asyncio.to_thread(log_segments.remove, oldest.path)

    def _log_of(self, tenant: str, function: str) -> _FunctionLog:
        function_log = self._logs.get((tenant, function))
        if function_log is None:
            directory = self._directory / check_name("tenant", tenant) / check_name("function", function)
            function_log = self._logs[tenant, function] = _FunctionLog(directory)
        return function_log

    def _forget_unused(self, tenant: str, function: str) -> None:
        function_log = self._logs.get((tenant, function))
        if function_log and not (function_log.followers or function_log.segments or function_log.unwritten):
            del self._logs[tenant, function]


def _encode(lines: Sequence[LogLine], room_bytes: int) -> tuple[bytes, int]:
    """As many of the lines, encoded, as fill the room, one at least; and how many they are."""
    parts: list[bytes] = []
    for line in lines:
        parts.append(log_segments.encode(line))
        room_bytes -= len(parts[-1])
        if room_bytes <= 0:
            break
    return b"".join(parts), len(parts)


def _memory_of(line: LogLine) -> int:
    return len(line.line) + LINE_OVERHEAD_BYTES


def _gap_text(count: int | None = None) -> str:
    return f"[stoker] {count or 'some'} lines are missing here: they came faster than they could be kept or read"
