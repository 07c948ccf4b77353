"""Builds the image, doing only what has not been done already."""

import filecmp
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stoker_guest_image import base, packages, root, tools
from stoker_guest_image.base import Base
from stoker_guest_image.boot import make_boot
from stoker_guest_image.errors import ImageError
from stoker_guest_image.images import DESCRIPTION, FILES, ImagesDirectory, describe
from stoker_guest_image.progress import Progress
from stoker_guest_image.recipe import Recipe, read_recipe
from stoker_guest_image.sources import Sources, image_id


def build(images_dir: Path, sources: Sources, progress: Progress) -> Path:
    """Builds the image where it is missing, and returns its directory.

    Raises:
        ImageError: It cannot be built.
    """
    images = ImagesDirectory(images_dir)
    wanted = image_id(sources)
    if not images.has_image(wanted):
        tools.check_tools()
        with images.locked(progress):
            # Somebody else may have built it meanwhile.
            if not images.has_image(wanted):
                recipe = read_recipe(sources.recipe)
                made = _find_or_make_base(recipe, images, progress)
                with images.making(images.image(wanted)) as directory:
                    _make_image(directory, recipe, made, sources, wanted, progress)
                progress.say(f"built {images.image(wanted)}")
    images.mark_as_newest(wanted)
    return images.image(wanted)


def verify(images_dir: Path, sources: Sources, progress: Progress) -> Sequence[str]:
    """Builds the image once more, from Debian's packages on, and returns the names of the files that differ.

    Raises:
        ImageError: It cannot be built.
    """
    built = build(images_dir, sources, progress)
    with tempfile.TemporaryDirectory(prefix="stoker-verify-", dir=images_dir) as scratch:
        Path(scratch).chmod(0o755)
        again = build(Path(scratch), sources, progress)
        if again.name != built.name:
            raise ImageError("the sources have changed between the two builds; verify again")
        _, differing, missing = filecmp.cmpfiles(built, again, (*FILES, DESCRIPTION), shallow=False)
        return [*differing, *missing]


def prune(images_dir: Path, sources: Sources, progress: Progress) -> Sequence[Path]:
    """Removes all images and bases but the current ones, and returns what was removed.

    VMs that run from a removed image go on; a host agent that was told of it by its id finds it no more.

    Raises:
        ImageError: The directory cannot be written to.
    """
    images = ImagesDirectory(images_dir)
    recipe = read_recipe(sources.recipe)
    with images.locked(progress):
        return images.remove_others(image_id(sources), base.id_of(recipe.base))


def _find_or_make_base(recipe: Recipe, images: ImagesDirectory, progress: Progress) -> Base:
    directory = images.base(base.id_of(recipe.base))
    if not directory.is_dir():
        with images.making(directory) as new:
            base.make_base(recipe.base, new, progress)
    return Base(directory)


def _make_image(directory: Path, recipe: Recipe, made: Base, sources: Sources, wanted: str, progress: Progress) -> None:
    # Directories are made with what it leaves, and the image shall not depend on who builds it.
    os.umask(0o022)
    busybox = packages.file_of(made.busybox, "./bin/busybox")
    with progress.step("making the kernel and the initramfs"):
        boot = make_boot(recipe, made, sources.initramfs_init.read_bytes(), busybox)
        (directory / "vmlinuz").write_bytes(boot.kernel)
        (directory / "initrd.img").write_bytes(boot.initramfs)
    tree = directory / "tree"
    tree.mkdir()
    with progress.step("making the root"):
        root.make_root(tree, made.root, recipe, sources, wanted, busybox)
    if image_id(sources) != wanted:
        raise ImageError("the sources have changed while the image was built of them; build it again")
    with progress.step("writing the root disk"):
        root.write_disk(tree, directory / "root.erofs")
        shutil.rmtree(tree)
    text = describe(wanted, recipe.kernel_cmdline, sources.runtime_names(), recipe.base.suite)
    (directory / DESCRIPTION).write_text(text, encoding="utf-8")
