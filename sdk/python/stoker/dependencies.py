"""What code in a directory depends on, installed for the guest when it is packed.

A `requirements.txt` becomes packages beside the code, where Python finds them, and a `package.json` becomes
`node_modules`. What was installed is kept in the user's cache by the hash of what was asked for, so that the same files
are the same artifact again, and nothing is fetched twice.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stoker import node_dependencies, python_dependencies
from stoker.build_tools import BuildFailed, Tell

KEPT = 20
"""How many installations are kept, those used last."""
_REVISION = "1"
"""Changes with what is made of the same files."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What goes into an artifact beside the files of its directory."""

    directories: tuple[Path, ...] = ()
    """What they hold is added, but for what the code's own directory has under the same path."""
    replaced: tuple[str, ...] = ()
    """Directories of the code's own that are left out, since what is installed takes their place."""


NONE = Dependencies()


def install(directory: Path, tell: Tell) -> Dependencies:
    """Installs what the files of a directory ask for; nothing where they ask for nothing.

    Args:
        directory: The code.
        tell: Is told what happens.

    Raises:
        BuildFailed: It cannot be installed for the guest; the message names what, and what to do.
    """
    found: list[Path] = []
    replaced: tuple[str, ...] = ()
    if (asked := _read(python_dependencies.asked, directory)) is not None:
        found.append(_kept("python", asked, python_dependencies.install, tell))
    if (asked := _read(node_dependencies.asked, directory)) is not None:
        found.append(_kept("node", asked, node_dependencies.install, tell))
        replaced = ("node_modules",)
    return Dependencies(tuple(found), replaced)


def cache_directory() -> Path:
    """Where installations are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stoker" / "dependencies"


def _read(asked: Callable[[Path], Mapping[str, bytes] | None], directory: Path) -> Mapping[str, bytes] | None:
    try:
        return asked(directory)
    except OSError as error:
        raise BuildFailed("PATH_UNREADABLE", f"cannot read {error.filename}: {error.strerror}") from error


def _kept(
    kind: str, asked: Mapping[str, bytes], make: Callable[[Mapping[str, bytes], Path, Tell], None], tell: Tell
) -> Path:
    """An installation of what is asked for, made now or earlier."""
    cache = cache_directory()
    place = cache / f"{kind}-{_key(kind, asked)}"
    first = next(iter(asked))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            os.utime(place)
            tell(f"dependencies of {first}: installed before, taken from {place}")
            return place
        tell(f"dependencies of {first}: installing for the guest")
        with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as scratch:
            made = Path(scratch, "made")
            make(asked, made, tell)
            if not place.is_dir():
                made.rename(place)
        _forget_oldest(cache)
    except OSError as error:
        raise BuildFailed("CACHE_UNWRITABLE", f"cannot keep dependencies in {cache}: {error}") from error
    return place


def _key(kind: str, asked: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(f"{_REVISION} {kind} {python_dependencies.PLATFORM}".encode())
    for name, data in asked.items():
        digest.update(f"\n{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:32]


def _forget_oldest(cache: Path) -> None:
    made = [path for path in cache.iterdir() if path.name.startswith(("python-", "node-"))]
    for path in sorted(made, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
