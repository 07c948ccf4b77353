"""What a container has of the code cache: its version's code, and its layers."""

from collections.abc import Sequence

from stoker_hostagent.artifact import Artifact
from stoker_hostagent.versions import Version


def uses_of(container_id: str, version: Version) -> Sequence[tuple[str, Artifact]]:
    """The artifacts that a container needs, each with the name under which the cache keeps it for that container."""
    code = Artifact(version.tenant, version.artifact_sha256, version.artifact_size_bytes)
    layers = (Artifact(version.tenant, layer.artifact_sha256, layer.artifact_size_bytes) for layer in version.layers)
    return [(container_id, code), *((f"{container_id}/{number}", layer) for number, layer in enumerate(layers, 1))]
