"""What goes into a template. Pure: whatever differs gives another key, under which another template is kept."""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from stoker_hostagent import domain_xml
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.domain_xml import Devices
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.vm import Shape, VmState

FORMAT = 1
"""Counts up when templates are made in another way."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What a saved VM depends on beside its own machine."""

    hypervisor: str
    """The versions of libvirt and QEMU, as libvirt tells them."""
    qemu: str
    """QEMU's version as it tells it itself, with that of its package."""
    host: str
    """The processor and kernel, where guests run on them; empty where they are emulated."""
    preparation: str
    """What is done to a template's guest before it is saved."""


def key(shape: Shape, image: GuestImage, accelerator: Accelerator, platform: Platform) -> str:
    """The key of the template of a shape: 32 hexadecimal digits."""
    recipe = {"format": FORMAT, "image": image.id, "domain": _domain(shape, image, accelerator), **asdict(platform)}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]


def _domain(shape: Shape, image: GuestImage, accelerator: Accelerator) -> str:
    """The machine, as that of a VM that never is."""
    record = VmRecord("host", "vm-000000000000", shape, VmState.CREATING, "", image.id, 0)
    return domain_xml.domain(record, uuid.UUID(int=0), image, accelerator, Devices(Path("channel"), Path("console")))
