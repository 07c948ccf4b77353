"""Templates without a VM: files with a header of libvirt's, and memory that is not QEMU's."""

import random

from stoker_hostagent.save_image import SaveHeader
from stoker_hostagent.template_store import Template, TemplateStore
from stoker_hostagent.vm import Shape

HEADER = SaveHeader("<domain/>", "<cookie/>", 4096, was_running=True, compression=0)


def save(store: TemplateStore, key: str, shape: Shape, size: int = 1024**2) -> Template:
    """Makes a template, whose memory is kept as it is."""
    store.begin(key).write_bytes(HEADER.to_bytes() + random.Random(key).randbytes(size))  # noqa: S311 - only different
    return store.finish(key, shape)
