"""Reads files out of Debian packages."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stoker_guest_image import tools
from stoker_guest_image.errors import ImageError


def files_of(package: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of a package with their contents.

    Raises:
        ImageError: It cannot be read.
    """
    with tarfile.open(fileobj=io.BytesIO(tools.run(["dpkg-deb", "--fsys-tarfile", package]))) as archive:
        for member in archive:
            if content := archive.extractfile(member):
                yield PurePosixPath(member.name), content.read()


def file_of(package: Path, path: str) -> bytes:
    """One file of a package.

    Raises:
        ImageError: The package has none such.
    """
    for name, content in files_of(package):
        if name == PurePosixPath(path):
            return content
    raise ImageError(f"{package} holds no {path}")
