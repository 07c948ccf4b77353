"""Directories that several codestores may use, cleared of what those left that were killed."""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger()


@contextmanager
def sharing(directory: Path, leftovers: str) -> Generator[None]:
    """Shares a directory with other codestores while the context is entered; a lock on it tells whether there are any.

    Args:
        directory: The directory.
        leftovers: A pattern of paths below it that are only there while something is being made. Whoever finds itself
            alone removes them.

    Raises:
        OSError: The directory cannot be opened, or a leftover not be removed.
    """
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("directory.shared", directory=str(directory))
        else:
            for leftover in list(directory.glob(leftovers)):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
                log.info("directory.leftover_removed", path=str(leftover))
        fcntl.flock(held, fcntl.LOCK_SH)
        yield
    finally:
        os.close(held)
