"""The guest image that VMs boot from, as the image builder leaves it."""

import json
from dataclasses import dataclass
from pathlib import Path

from stoker_hostagent import vm_errors


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A built image."""

    id: str
    """The hash of all that went into it."""
    directory: Path
    kernel_cmdline: str
    runtimes: tuple[str, ...]

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initramfs."""
        return self.directory / "initrd.img"

    @property
    def root(self) -> Path:
        """The root disk, read-only."""
        return self.directory / "root.erofs"


def find_image(images_dir: Path, image_id: str = "") -> GuestImage:
    """The image of an id, or, where it is empty, the one that was built last of those that are complete.

    Raises:
        StokerError: IMAGE_MISSING.
    """
    descriptions = images_dir.glob(f"{image_id or '*'}/image.json")
    for description in sorted(descriptions, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        image = _read(description)
        if image is not None and all(file.is_file() for file in (image.kernel, image.initrd, image.root)):
            return image
    raise vm_errors.image_missing(images_dir, image_id)


def _read(description: Path) -> GuestImage | None:
    try:
        told = json.loads(description.read_text(encoding="utf-8"))
        return GuestImage(told["id"], description.parent, told["kernel_cmdline"], tuple(told["runtimes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
