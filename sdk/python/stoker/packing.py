"""A directory of code as an artifact.

The same files give the same bytes: entries are sorted, and times, owners and all of the modes but `executable` are
left out. So deploying what is deployed already uploads nothing and publishes nothing.
"""

import gzip
import hashlib
import os
import stat
import tarfile
import tempfile
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from stoker.dependencies import NONE, Dependencies
from stoker.errors import PackingError

IGNORE_FILE = ".stokerignore"
"""Its lines are those of a `.gitignore`."""
ALWAYS_IGNORED = (".git/", "__pycache__/", f"/{IGNORE_FILE}")
"""Left out whatever the file says."""

MAX_BYTES = 256 * 1024 * 1024
"""The largest artifact that Stoker takes."""
_MAGIC = (b"PK\x03\x04", b"\x1f\x8b")
_TAR_MAGIC, _TAR_MAGIC_OFFSET = b"ustar", 257
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """An artifact, ready to be uploaded."""

    file: Path
    sha256: str
    size_bytes: int


@contextmanager
def packed(path: Path, dependencies: Dependencies = NONE) -> Generator[Packed]:
    """Packs a directory for as long as the context is entered; a zip, tar.gz or saved image is taken as it is.

    Args:
        path: The directory or the archive.
        dependencies: What a directory's files need, and is packed with them.

    Raises:
        PackingError: There is nothing there that can be packed.
    """
    if not path.is_dir():
        yield _check_size(_measure(_archive(path)), path)
        return
    with tempfile.TemporaryDirectory(prefix="stoker-") as scratch:
        file = Path(scratch) / "code.tar.gz"
        _pack_directory(path, dependencies, file)
        yield _check_size(_measure(file), path)


def chunks(file: Path) -> Iterator[bytes]:
    """The bytes of a file, in chunks as an upload has them."""
    with file.open("rb") as opened:
        while chunk := opened.read(_BLOCK):
            yield chunk


def _archive(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            start = file.read(_TAR_MAGIC_OFFSET + len(_TAR_MAGIC))
    except OSError as error:
        raise PackingError("PATH_UNREADABLE", f"cannot read {path}: {error.strerror}") from error
    if not (start.startswith(_MAGIC) or start.endswith(_TAR_MAGIC)):
        raise PackingError(
            "NOT_AN_ARCHIVE",
            f"{path} is neither a directory, nor a zip, a tar.gz or a saved image; deploy the directory it is in",
        )
    return path


def _measure(file: Path) -> Packed:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks(file):
        digest.update(chunk)
        size += len(chunk)
    return Packed(file, digest.hexdigest(), size)


def _check_size(artifact: Packed, path: Path) -> Packed:
    if artifact.size_bytes > MAX_BYTES:
        raise PackingError(
            "TOO_LARGE",
            f"{path} has {artifact.size_bytes / 2**20:.0f} MiB packed, and {MAX_BYTES // 2**20} are allowed; "
            f"leave out what the function does not need in a {IGNORE_FILE}",
        )
    return artifact


def _pack_directory(directory: Path, dependencies: Dependencies, file: Path) -> None:
    sources = _sources(directory, dependencies)
    if not sources:
        raise PackingError("NOTHING_TO_PACK", f"{directory} holds no files to deploy")
    with (
        file.open("wb") as raw,
        # Without a name and a time, which gzip would put in its header.
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, source in sorted(sources.items()):
            _add(archive, source, name)


def _sources(directory: Path, dependencies: Dependencies) -> dict[str, Path]:
    """The directory that each path is taken from. What the code itself has comes before what it depends on."""
    own = _names(directory, _ignored_in(directory))
    replaced = tuple(f"{name}/" for name in dependencies.replaced)
    sources = {name: directory for name in own if not (replaced and name.startswith(replaced))}
    for installed in dependencies.directories:
        for name in _names(installed, GitIgnoreSpec.from_lines(ALWAYS_IGNORED)):
            sources.setdefault(name, installed)
    return sources


def _names(directory: Path, ignored: GitIgnoreSpec) -> list[str]:
    """The paths of all files and links below `directory` that are not ignored, sorted."""
    found: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        for entry in _entries(directory / below):
            name = f"{below}{entry.name}"
            is_directory = entry.is_dir(follow_symlinks=False)
            if ignored.match_file(f"{name}/" if is_directory else name):
                continue
            if is_directory:
                waiting.append(f"{name}/")
            else:
                found.append(name)
    return sorted(found)


def _ignored_in(directory: Path) -> GitIgnoreSpec:
    try:
        lines = (directory / IGNORE_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as error:
        raise PackingError("PATH_UNREADABLE", f"cannot read {directory / IGNORE_FILE}: {error}") from error
    try:
        with warnings.catch_warnings():
            # Of `re`, about what pathspec makes of `[[]`: its meaning may change with Python, and is right today.
            warnings.simplefilter("ignore", FutureWarning)
            return GitIgnoreSpec.from_lines([*lines, *ALWAYS_IGNORED])
    except GitIgnorePatternError as error:
        raise PackingError("IGNORE_FILE_INVALID", f"{directory / IGNORE_FILE}: {error}; see gitignore(5)") from error


def _entries(directory: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise PackingError("PATH_UNREADABLE", f"cannot read {directory}: {error.strerror}") from error


def _add(archive: tarfile.TarFile, directory: Path, name: str) -> None:
    path = directory / name
    info = tarfile.TarInfo(name)
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, _checked_link(directory, name), 0o777
            archive.addfile(info)
        elif stat.S_ISREG(found.st_mode):
            with path.open("rb") as file:
                info.size = os.fstat(file.fileno()).st_size
                info.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
                archive.addfile(info, _Exactly(file, path))
        else:
            raise PackingError(
                "NOT_A_FILE", f"{path} is a device, socket or pipe; remove it, or name it in {IGNORE_FILE}"
            )
    except OSError as error:
        raise PackingError("PATH_UNREADABLE", f"cannot read {path}: {error.strerror or error}") from error


def _checked_link(directory: Path, name: str) -> str:
    target = (directory / name).readlink()
    root = os.path.normpath(directory.absolute())
    # By the text alone: what a link leads to on this machine means nothing on another.
    leads_to = os.path.normpath((directory / name).absolute().parent / target)
    if target.is_absolute() or (leads_to != root and not leads_to.startswith(root + os.sep)):
        raise PackingError(
            "LINK_LEAVES_DIRECTORY",
            f"the link {directory / name} leaves the directory (it leads to {target}); put a copy in its place, or "
            f"name it in {IGNORE_FILE}",
        )
    return str(target)


class _Exactly:
    """Reads a file and notices when it shrinks meanwhile, which tarfile reports in its own words."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        if size > 0 and len(block) < size:
            raise PackingError("CHANGED_WHILE_READ", f"{self._path} changed while it was packed; deploy again")
        return block
