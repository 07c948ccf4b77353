"""What is kept with each container in its guest, so that a restarted host agent knows what it runs."""

from google.protobuf.message import DecodeError
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_service.validation import violations_of

from stoker_hostagent.versions import Version
from stoker_hostagent.wire import spec_from_version, version_from_spec


def label_of(version: Version) -> bytes:
    """The label of a container that runs `version`."""
    return spec_from_version(version).SerializeToString()


def version_from(label: bytes) -> Version | None:
    """What the container with that label runs; None where it is no label of this host agent."""
    try:
        spec = codestore_pb2.VersionSpec.FromString(label)
    except DecodeError:
        return None
    return None if violations_of(spec) else version_from_spec(spec)
