"""The directory of images: each complete or not there, whoever builds at the same time and however a build ends.

<images-dir>/<image-id>/   an image
<images-dir>/base-<id>/    a base
<images-dir>/.new-…/       what is being made
<images-dir>/.lock         held by whoever makes something
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stoker_guest_image.errors import ImageError
from stoker_guest_image.progress import Progress

FILES = ("vmlinuz", "initrd.img", "root.erofs")
DESCRIPTION = "image.json"
_NEW = ".new-"
_BASE = "base-"


class ImagesDirectory:
    """Images on disk, by id."""

    def __init__(self, path: Path) -> None:
        """Takes a directory, which need not be there yet."""
        self._path = path

    def image(self, image_id: str) -> Path:
        """Where an image lies or will lie."""
        return self._path / image_id

    def base(self, base_id: str) -> Path:
        """Where a base lies or will lie."""
        return self._path / f"{_BASE}{base_id}"

    def has_image(self, image_id: str) -> bool:
        """Whether an image is built."""
        return all((self.image(image_id) / name).is_file() for name in (*FILES, DESCRIPTION))

    def mark_as_newest(self, image_id: str) -> None:
        """Has an image count as the one that was built last, which host agents boot unless told otherwise."""
        os.utime(self.image(image_id) / DESCRIPTION)

    @contextmanager
    def locked(self, progress: Progress) -> Generator[None]:
        """Keeps others from making or removing anything until the context is left, and makes the directory.

        What a build that was killed has left is removed: nobody makes anything without the lock. Whoever holds it is
        bounded in time, and loses it by ending.

        Raises:
            ImageError: The directory cannot be made.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = (self._path / ".lock").open("w")
        except OSError as error:
            raise ImageError(
                f"cannot write to {self._path}: {error.strerror}; run as root, or name another by --images-dir"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with progress.step(f"waiting for another build in {self._path}"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in self._path.glob(f"{_NEW}*"):
                shutil.rmtree(leftover)
            yield

    @contextmanager
    def making(self, target: Path) -> Generator[Path]:
        """An empty directory beside `target`, which becomes it when the context is left without an exception."""
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._path))
        try:
            # QEMU runs as another user, and so do mmdebstrap's parts.
            new.chmod(0o755)
            yield new
            if target.exists():
                shutil.rmtree(target)
            new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def remove_others(self, image_id: str, base_id: str) -> Sequence[Path]:
        """Removes all but one image and its base; returns what was removed."""
        kept = {self.image(image_id), self.base(base_id)}
        removed = [
            path
            for path in sorted(self._path.iterdir())
            if path not in kept and (path.name.startswith(_BASE) or (path / DESCRIPTION).is_file())
        ]
        for path in removed:
            shutil.rmtree(path)
        return removed


def describe(image_id: str, kernel_cmdline: str, runtimes: Sequence[str], suite: str) -> str:
    """The text of image.json."""
    told = {"id": image_id, "kernel_cmdline": kernel_cmdline, "runtimes": list(runtimes), "suite": suite}
    return json.dumps(told, indent=2) + "\n"
