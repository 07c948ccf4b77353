"""Printed lines on disk: for each function a directory of segments, which are files of one JSON array a line.

A segment's name is the time of its first line, so that names sort as lines do. A segment whose last line may be torn,
as after a kill, is never appended to.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a function printed."""

    time_ns: int
    """When it was read, in nanoseconds since 1970; no two lines of a function have the same."""
    version: int
    invocation_id: str
    """Empty for what was printed while loading."""
    container: str
    stream: str
    """`stdout` or `stderr`."""
    line: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of lines, in the order of their times."""

    path: Path
    size_bytes: int

    @property
    def first_ns(self) -> int:
        """The time of its first line."""
        return int(self.path.name.removesuffix(SUFFIX))


def encode(line: LogLine) -> bytes:
    """A line as it is kept."""
    fields = (line.time_ns, line.version, line.invocation_id, line.container, line.stream, line.line)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def segment_path(directory: Path, first_ns: int) -> Path:
    """Where a segment is that begins with a line of that time."""
    return directory / f"{first_ns:020d}{SUFFIX}"


def append(path: Path, lines: bytes) -> None:
    """Adds encoded lines to a segment, which is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(lines)


def remove(path: Path) -> None:
    """Removes a segment, and its function's directory with the last one."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        # It fails while there are others.
        path.parent.rmdir()


def find(root: Path) -> dict[tuple[str, str], list[Segment]]:
    """The segments below `root` by tenant and function, oldest first."""
    found: dict[tuple[str, str], list[Segment]] = {}
    for path in sorted(root.glob("*/*/*" + SUFFIX)):
        if path.name.removesuffix(SUFFIX).isdecimal():
            key = (path.parent.parent.name, path.parent.name)
            found.setdefault(key, []).append(Segment(path, path.stat().st_size))
    return found


def read_last(segments: Sequence[Segment], limit: int) -> list[LogLine]:
    """The last `limit` lines of segments, oldest first; the segments are given oldest first."""
    parts: list[list[LogLine]] = []
    missing = limit
    for segment in reversed(segments):
        if missing <= 0:
            break
        part = read(segment, 0, segment.size_bytes)[0][-missing:]
        missing -= len(part)
        parts.append(part)
    return [line for part in reversed(parts) for line in part]


def read(segment: Segment, offset: int, max_bytes: int) -> tuple[list[LogLine], int]:
    """The whole lines from `offset` on that `max_bytes` hold, one at least, and the offset after them.

    There are none at the end, and none in a segment that has been removed.
    """
    if offset >= segment.size_bytes:
        return [], offset
    try:
        with segment.path.open("rb") as file:
            file.seek(offset)
            content = file.read(min(max_bytes, segment.size_bytes - offset))
            if not content.endswith(b"\n"):
                content += file.readline()
    except FileNotFoundError:
        return [], segment.size_bytes
    return list(_decode(content.splitlines())), offset + len(content)


def _decode(lines: Iterable[bytes]) -> Iterator[LogLine]:
    for line in lines:
        try:
            fields: Any = json.loads(line)
            yield LogLine(*fields)
        except (ValueError, TypeError):
            # Torn when the process or the machine was killed.
            continue
