"""The guest image of this checkout, for all tests that boot one: what exists is not built twice."""

import os
from functools import cache
from pathlib import Path

from stoker_guest_image.build import build
from stoker_guest_image.progress import Progress
from stoker_guest_image.sources import find_sources

IMAGES_DIR = Path(os.environ.get("STOKER_HOSTAGENT_IMAGES_DIR", "/var/lib/stoker/images"))


@cache
def guest_image() -> Path:
    """The image's directory; it is built where it is missing."""
    return build(IMAGES_DIR, find_sources(), Progress())
