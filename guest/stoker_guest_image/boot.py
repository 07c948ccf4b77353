"""What boots a guest: the kernel, and the initramfs that finds the root disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stoker_guest_image import kernel, packages
from stoker_guest_image.base import Base
from stoker_guest_image.cpio import CpioWriter
from stoker_guest_image.errors import ImageError
from stoker_guest_image.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Boot:
    """The contents of the files that boot a guest."""

    kernel: bytes
    initramfs: bytes


def make_boot(recipe: Recipe, base: Base, init: bytes, busybox: bytes) -> Boot:
    """Makes what boots a guest, of the kernel's package.

    Raises:
        ImageError: The package is not as expected.
    """
    bzimage = b""
    modules: dict[str, bytes] = {}
    for path, content in packages.files_of(base.kernel):
        if path.name.startswith("vmlinuz-"):
            bzimage = content
        elif path.suffix == ".ko":
            modules[kernel.module_name(path.name)] = content
    if not bzimage:
        raise ImageError(f"{base.kernel} holds no kernel")
    needs = {name: kernel.module_needs(module) for name, module in modules.items()}
    ordered = kernel.order_modules(recipe.modules, needs)
    initramfs = make_initramfs(init, busybox, recipe.initramfs_applets, {name: modules[name] for name in ordered})
    return Boot(kernel.unpack_kernel(bzimage), initramfs)


def make_initramfs(init: bytes, busybox: bytes, applets: Sequence[str], modules: Mapping[str, bytes]) -> bytes:
    """Makes an initramfs.

    It is not compressed: reading 3 MB into a guest's memory takes less time than unpacking them there.

    Args:
        init: The first program.
        busybox: A statically linked busybox.
        applets: Those of its commands that `init` uses.
        modules: Kernel modules by name, in the order they are to be loaded in.
    """
    archive = CpioWriter()
    for directory in ("bin", "dev", "lower", "modules", "root", "writable"):
        archive.add_directory(directory)
    # The kernel opens it for the first program, before there is a devtmpfs.
    archive.add_character_device("dev/console", 5, 1)
    archive.add_file("bin/busybox", busybox, is_program=True)
    for applet in applets:
        archive.add_link(f"bin/{applet}", "busybox")
    for place, (name, module) in enumerate(modules.items()):
        archive.add_file(f"modules/{place:02}-{name}.ko", module)
    archive.add_file("init", init, is_program=True)
    return archive.finish()
