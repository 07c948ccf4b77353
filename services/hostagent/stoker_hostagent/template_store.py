"""Templates on disk: `<directory>/<key>/` holds the saved memory and what it must be. Blocking: call it in a thread.

A template is hashed when it is made and when a host agent finds it; after that its size and time tell whether it is
still the same. What is found broken is removed.
"""

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from stoker_hostagent import save_image
from stoker_hostagent.migration_stream import Buffer, StreamUnknown, without_zero_pages
from stoker_hostagent.save_image import SaveHeader, SaveImageInvalid, read_header
from stoker_hostagent.vm import Shape

log = structlog.get_logger()

UNFINISHED = ".new"
_MEMORY = "memory"
_SAVED = "saved"
_FACTS = "template.json"


class TemplateInvalid(Exception):
    """What was saved, or what is there, cannot be a template."""


@dataclass(frozen=True, slots=True)
class Template:
    """The saved memory of a VM that nobody had yet."""

    key: str
    shape: Shape
    file: Path
    size_bytes: int
    mtime_ns: int
    header: SaveHeader

    def is_intact(self) -> bool:
        """Whether the file is still what was hashed, as far as its size and time tell."""
        try:
            facts = self.file.stat()
        except OSError:
            return False
        return (facts.st_size, facts.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


class TemplateStore:
    """The templates of one host agent."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Touches nothing yet.

        Args:
            directory: Where they are.
            max_bytes: How much disk they may take together. Those that were not used for longest go first.
        """
        self._directory = directory
        self._max_bytes = max_bytes

    def open(self) -> None:
        """Makes the directory, and removes what an earlier host agent did not finish."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in self._directory.glob(f"*{UNFINISHED}"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def load(self, key: str) -> Template | None:
        """The template of a key, verified; None where there is none, or it was broken and is removed."""
        directory = self._directory / key
        try:
            facts = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
            shape = Shape(facts["vcpus"], facts["memory_mib"])
            template = _described(key, shape, directory / _MEMORY)
            if template.size_bytes != facts["size_bytes"] or _sha256(template.file) != facts["sha256"]:
                raise TemplateInvalid("it is not what was saved")
        except FileNotFoundError:
            self.remove(key)
            return None
        except (OSError, ValueError, KeyError, TypeError, TemplateInvalid) as error:
            log.warning("template.broken", template=key, message=str(error))
            self.remove(key)
            return None
        return template

    def begin(self, key: str) -> Path:
        """Makes the place for a new template, and returns the file that it has to be saved to."""
        unfinished = self._unfinished(key)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        return unfinished / _SAVED

    def finish(self, key: str, shape: Shape) -> Template:
        """Makes a template of what was saved, and removes others where they are too many.

        Raises:
            TemplateInvalid: It is none, or larger than all may be.
            OSError: It cannot be written.
        """
        unfinished = self._unfinished(key)
        sha256 = _write_small(unfinished / _SAVED, unfinished / _MEMORY)
        (unfinished / _SAVED).unlink()
        size_bytes = (unfinished / _MEMORY).stat().st_size
        if size_bytes > self._max_bytes:
            raise TemplateInvalid(f"it takes {size_bytes >> 20} MiB; templates may take {self._max_bytes >> 20} MiB")
        facts = {
            "vcpus": shape.vcpus, "memory_mib": shape.memory_mib, "size_bytes": size_bytes, "sha256": sha256
        }  # fmt: skip
        (unfinished / _FACTS).write_text(json.dumps(facts) + "\n", encoding="utf-8")
        self.remove(key)
        unfinished.rename(self._directory / key)
        self._make_room(key)
        return _described(key, shape, self._directory / key / _MEMORY)

    def give_up(self, key: str) -> None:
        """Removes what was begun. Nothing begun is no error."""
        shutil.rmtree(self._unfinished(key), ignore_errors=True)

    def used(self, key: str) -> None:
        """Remembers that a template was used just now."""
        with suppress(OSError):
            os.utime(self._directory / key / _FACTS)

    def remove(self, key: str) -> None:
        """Removes a template. One that is not there is no error."""
        shutil.rmtree(self._directory / key, ignore_errors=True)

    def _unfinished(self, key: str) -> Path:
        return self._directory / f"{key}{UNFINISHED}"

    def _make_room(self, newest: str) -> None:
        kept = sorted(self._directory.glob(f"*/{_FACTS}"), key=lambda facts: facts.stat().st_mtime_ns)
        sizes = {facts.parent.name: (facts.parent / _MEMORY).stat().st_size for facts in kept}
        for key in sizes:
            if sum(sizes.values()) <= self._max_bytes:
                return
            if key != newest:
                log.info("template.removed", template=key, reason="space")
                self.remove(key)
                sizes[key] = 0


def _described(key: str, shape: Shape, file: Path) -> Template:
    with file.open("rb") as reading:
        try:
            header = read_header(reading)
        except SaveImageInvalid as error:
            raise TemplateInvalid(str(error)) from error
        facts = os.fstat(reading.fileno())
    return Template(key, shape, file, facts.st_size, facts.st_mtime_ns, header)


def _write_small(saved: Path, memory: Path) -> str:
    """Writes what libvirt has saved without what clones have no use for, and returns its SHA-256."""
    try:
        return _write(_slices(saved, is_small=True), memory)
    except StreamUnknown as error:
        log.warning("template.not_made_smaller", message=str(error))
        return _write(_slices(saved, is_small=False), memory)


def _slices(saved: Path, *, is_small: bool) -> Iterator[Buffer]:
    with saved.open("rb") as reading:
        try:
            header = read_header(reading)
        except SaveImageInvalid as error:
            raise TemplateInvalid(str(error)) from error
        yield header.to_bytes()
        # Unmapped when the last slice of it is gone.
        stream = memoryview(mmap.mmap(reading.fileno(), 0, access=mmap.ACCESS_READ))[header.stream_offset :]
        if is_small and header.compression == save_image.RAW:
            yield from without_zero_pages(stream)
        else:
            yield stream


def _write(slices: Iterator[Buffer], file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("wb") as writing:
        for part in slices:
            writing.write(part)
            digest.update(part)
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as reading:
        return hashlib.file_digest(reading, "sha256").hexdigest()
