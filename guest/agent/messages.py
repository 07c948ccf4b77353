"""The messages of `stoker.guest.v1`, made from their descriptors.

Debian's protobuf library is older than the one that generates code for the host, and makes classes from a descriptor
set just as well.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def load_messages(descriptor_set: Path) -> Any:
    """Makes the message classes of a descriptor set; each is an attribute by its name."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    factory: Any = message_factory
    names = [(file.package, message.name) for file in files.file for message in file.message_type]
    # `GetMessageClass` came after Debian's version, which has a factory for each pool.
    make = getattr(factory, "GetMessageClass", None) or factory.MessageFactory(pool).GetPrototype
    return SimpleNamespace(**{name: make(pool.FindMessageTypeByName(f"{package}.{name}")) for package, name in names})
