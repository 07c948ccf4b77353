"""The recipe of the image: `guest/image/recipe.toml`, read into values."""

import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from stoker_guest_image.errors import ImageError


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """What the base is made of: Debian's packages, without anything of Stoker."""

    suite: str
    """Debian's name of the release."""
    components: tuple[str, ...]
    packages: tuple[str, ...]
    """Besides those that Debian calls essential."""
    exclude: tuple[str, ...]
    """Paths that dpkg leaves out, as patterns."""
    include: tuple[str, ...]
    """Paths that dpkg leaves in nevertheless."""
    packages_since: date
    """The day whose packages are wanted at the earliest; also the date of all that is made."""

    @property
    def epoch_s(self) -> int:
        """The time that everything in the image claims to be made at, in seconds since 1970."""
        return int(datetime.combine(self.packages_since, time(), UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the image is made of, apart from files."""

    base: BaseRecipe
    kernel_cmdline: str
    modules: tuple[str, ...]
    """The kernel modules the initramfs loads, without those they need."""
    initramfs_applets: tuple[str, ...]
    """busybox's commands in the initramfs."""
    root_applets: tuple[str, ...]
    """busybox's commands for the init of the root."""
    remove: tuple[str, ...]
    """Patterns of what the root does not keep of the base."""
    directories: tuple[str, ...]
    """Directories that the root has besides."""


def parse_recipe(text: str) -> Recipe:
    """Reads a recipe.

    Raises:
        ImageError: It is no TOML, or lacks something.
    """
    try:
        told = tomllib.loads(text)
        base, initramfs, root = told["base"], told["initramfs"], told["root"]
        return Recipe(
            base=BaseRecipe(
                suite=base["suite"],
                components=_strings(base, "components"),
                packages=_strings(base, "packages"),
                exclude=_strings(base, "exclude"),
                include=_strings(base, "include"),
                packages_since=told["packages_since"],
            ),
            kernel_cmdline=" ".join(_strings(told, "kernel_cmdline")),
            modules=_strings(initramfs, "modules"),
            initramfs_applets=_strings(initramfs, "applets"),
            root_applets=_strings(root, "applets"),
            remove=_strings(root, "remove"),
            directories=_strings(root, "directories"),
        )
    except tomllib.TOMLDecodeError as error:
        raise ImageError(f"recipe.toml is no TOML: {error}") from error
    except KeyError as error:
        raise ImageError(f"recipe.toml lacks {error}") from error


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe from its file.

    Raises:
        ImageError: It is no TOML, or lacks something.
    """
    return parse_recipe(path.read_text(encoding="utf-8"))


def _strings(table: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(each) for each in table[key])
