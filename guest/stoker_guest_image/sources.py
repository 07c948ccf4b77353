"""What goes into an image, and the id that follows from it."""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stoker_guest_image.errors import ImageError
from stoker_guest_image.recipe import BaseRecipe

ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that an image is made of. Each is a file or a directory."""

    image: Path
    """The recipe, the initramfs's init, and what is copied into the root as it is."""
    agent: Path
    runtimes: Path
    ttrpc: Path
    """The package `stoker_ttrpc`."""
    messages: Path
    """The descriptor set of the guest agent's messages."""
    builder: Path
    """This package: whatever it does differently makes a different image."""

    @property
    def recipe(self) -> Path:
        """The recipe."""
        return self.image / "recipe.toml"

    @property
    def initramfs_init(self) -> Path:
        """The first program of a guest."""
        return self.image / "initramfs-init"

    @property
    def files(self) -> Path:
        """What is copied into the root as it is."""
        return self.image / "files"

    def runtime_names(self) -> list[str]:
        """The runtimes that the image will hold."""
        return sorted(path.name for path in self.runtimes.iterdir() if path.is_dir() and path.name != "__pycache__")


def find_sources() -> Sources:
    """The sources beside this package, and of the libraries that are installed.

    Raises:
        ImageError: Some are not there.
    """
    builder = Path(__file__).resolve().parent
    guest = builder.parent
    sources = Sources(
        image=guest / "image",
        agent=guest / "agent",
        runtimes=guest / "runtimes",
        ttrpc=_package("stoker_ttrpc"),
        messages=_package("stoker_protos") / "guest.binpb",
        builder=builder,
    )
    for source in fields(sources):
        path: Path = getattr(sources, source.name)
        if not path.exists():
            raise ImageError(f"{path} is missing; build from a checkout that ./setup.sh has made ready")
    return sources


def image_id(sources: Sources) -> str:
    """The hash over all that goes into an image."""
    digest = hashlib.sha256()
    for source in fields(sources):
        root: Path = getattr(sources, source.name)
        for path in files_below(root):
            content = path.read_bytes()
            # Of its permissions only this one is kept in the image.
            kind = "program" if path.stat().st_mode & 0o100 else "file"
            name = path.relative_to(root).as_posix()
            digest.update(f"{source.name}/{name} {kind} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:ID_DIGITS]


def base_id(recipe: BaseRecipe, made_by: str) -> str:
    """The hash over all that goes into a base.

    Args:
        recipe: What it is made of.
        made_by: The source of the code that makes it.
    """
    described = json.dumps({**asdict(recipe), "made_by": made_by}, default=str, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:ID_DIGITS]


def files_below(root: Path) -> Iterator[Path]:
    """The files of a tree in order, without Python's caches; the file itself where it is one."""
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImageError(f"the package {name} is not installed; run ./setup.sh")
    return Path(spec.submodule_search_locations[0])
