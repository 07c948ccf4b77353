"""Images, good and bad, as `docker save` writes them and in an OCI layout."""

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zstandard

from tests.artifacts.archives import Item, tar_bytes

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "+gzip": lambda data: gzip.compress(data, 6, mtime=0),
    "+zstd": zstandard.compress,
}
AMD64 = {"os": "linux", "architecture": "amd64"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes) -> str:
    return f"sha256:{sha256(data)}"


@dataclass(frozen=True, slots=True)
class ImageParts:
    """An image, which tests change before it is packed."""

    layers: Sequence[bytes]
    """Tars, not compressed, from the bottom up."""
    working_directory: str = ""
    compression: str = "+gzip"
    platform: Mapping[str, str] = field(default_factory=lambda: AMD64)
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the config says otherwise."""
    descriptor: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What each layer's descriptor says otherwise."""

    def config_json(self) -> bytes:
        return json.dumps(
            {
                **self.platform,
                "config": {"WorkingDir": self.working_directory},
                "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]},
                **self.config,
            }
        ).encode()

    def packed_layers(self) -> list[bytes]:
        return [PACKERS[self.compression](layer) for layer in self.layers]


def image(*layers: Sequence[Item], **more: Any) -> ImageParts:
    """An image of layers with these entries."""
    return ImageParts([tar_bytes(layer) for layer in layers], **more)


def layout_files(parts: ImageParts) -> dict[str, bytes]:
    """The files of an OCI layout."""
    config, layers = parts.config_json(), parts.packed_layers()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"digest": digest(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": f"application/vnd.oci.image.layer.v1.tar{parts.compression}",
                    "digest": digest(layer),
                    "size": len(layer),
                    **parts.descriptor,
                }
                for layer in layers
            ],
        }
    ).encode()
    index = {"schemaVersion": 2, "manifests": [{"digest": digest(manifest), "size": len(manifest)}]}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{f"blobs/sha256/{sha256(blob)}": blob for blob in (manifest, config, *layers)},
    }


def docker_files(parts: ImageParts) -> dict[str, bytes]:
    """The files that `docker save` wrote before it wrote OCI layouts."""
    config, layers = parts.config_json(), parts.packed_layers()
    names = [f"{number:064x}/layer.tar" for number in range(len(layers))]
    described = [{"Config": f"{sha256(config)}.json", "RepoTags": ["code:latest"], "Layers": names}]
    return {
        f"{sha256(config)}.json": config,
        **dict(zip(names, layers, strict=True)),
        "manifest.json": json.dumps(described).encode(),
    }


def tar_of(files: Mapping[str, bytes]) -> bytes:
    return tar_bytes([Item(name, data) for name, data in files.items()])


def layout(parts: ImageParts) -> bytes:
    return tar_of(layout_files(parts))


def docker(parts: ImageParts) -> bytes:
    return tar_of(docker_files(parts))


IMAGE_MAKERS = {"oci layout": layout, "docker save": docker}
