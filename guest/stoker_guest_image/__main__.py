"""Builds the guest image: `python -m stoker_guest_image build`.

Standard output holds the answer alone: the image's directory, its id, or nothing. Everything else goes to standard
error.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stoker_guest_image.build import build, prune, verify
from stoker_guest_image.errors import ImageError
from stoker_guest_image.images import ImagesDirectory
from stoker_guest_image.progress import Progress
from stoker_guest_image.sources import find_sources, image_id

IMAGES_DIR = Path("/var/lib/stoker/images")
_COMMANDS = {
    "build": "build the image where it is missing, and print its directory",
    "id": "print the id of the image that would be built",
    "path": "print the directory of the image; fail where it is not built",
    "prune": "remove all images and bases but the current ones",
    "verify": "build the image once more from Debian's packages, and fail where it comes out differently",
}


def main(arguments: Sequence[str]) -> int:
    """Does what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="stoker_guest_image", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images-dir", type=Path, default=IMAGES_DIR, help=f"where images lie (default {IMAGES_DIR})")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        # After the command as well as before it.
        command.add_argument("--images-dir", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    told = parser.parse_args(arguments)
    images_dir: Path = told.images_dir.absolute()
    try:
        return _run(told.command, images_dir)
    except ImageError as error:
        print(f"guest image: {error}", file=sys.stderr)
        return 1


def _run(command: str, images_dir: Path) -> int:
    sources, progress = find_sources(), Progress()
    match command:
        case "id":
            print(image_id(sources))
        case "path":
            images, wanted = ImagesDirectory(images_dir), image_id(sources)
            if not images.has_image(wanted):
                raise ImageError(f"{wanted} is not built; run: python -m stoker_guest_image build")
            print(images.image(wanted))
        case "prune":
            for path in prune(images_dir, sources, progress):
                progress.say(f"removed {path}")
        case "verify":
            if differing := verify(images_dir, sources, progress):
                raise ImageError(
                    f"{', '.join(differing)} came out differently; if Debian has newer packages since the image was "
                    "built, that is why: name a newer day in recipe.toml, packages_since"
                )
            progress.say("the image came out the same, byte for byte")
        case _:
            print(build(images_dir, sources, progress))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
