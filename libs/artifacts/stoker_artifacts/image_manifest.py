"""What an image archive says of the image in it: its layers, from the bottom up, and its working directory.

Two descriptions are in use: that of an OCI layout (`index.json`, OCI image-spec 1.1), and that of `docker save`
(`manifest.json`). Where both are there, the first counts, since it tells the digest of every part; unless it lists no
image, as Docker 25.0 writes it for one without a name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from stoker_artifacts.errors import Reason, UnsafeArchive, corrupt, shown, unsupported_image
from stoker_artifacts.image_blobs import Blobs

MOST_LAYERS = 127
"""What Docker can stack."""
_DEEPEST_INDEX = 3
_MOST_IMAGES = 1000
_PLATFORM = ("linux", "amd64")
_DIGEST = re.compile("sha256:([0-9a-f]{64})")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: a tar, plain or compressed."""

    file: str
    """Its name in the archive."""
    sha256: str
    """The digest of the file; empty where the archive does not tell."""
    unpacked_sha256: str
    """The digest of the tar, not compressed."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image."""

    layers: Sequence[Layer]
    """From the bottom up."""
    working_directory: str
    """Empty where it has none."""


def find_image(blobs: Blobs) -> Image:
    """The image in an archive.

    Raises:
        UnsafeArchive: There is none, more than one, or none that the guest can run; or what describes it is damaged.
    """
    if "index.json" in blobs and "oci-layout" in blobs:
        index = _object(blobs.json("index.json"), "index.json")
        if index.get("manifests") or "manifest.json" not in blobs:
            return _of_layout(blobs, index)
    if "manifest.json" in blobs:
        return _of_docker(blobs)
    raise UnsafeArchive(
        Reason.UNKNOWN_FORMAT,
        "a tar that is not gzipped is taken as an image, and this one has neither `index.json` with `oci-layout` nor "
        "`manifest.json`; pack code as a zip or with `tar -z`, an image with `docker save`",
    )


def _of_layout(blobs: Blobs, index: Json) -> Image:
    manifest = _chosen(blobs, index, 1)
    layers = [_object(layer, "a layer") for layer in _list(manifest, "layers")]
    for layer in layers:
        if "encrypted" in str(layer.get("mediaType", "")):
            raise UnsafeArchive(Reason.ENCRYPTED, "a layer of the image is encrypted; save it decrypted")
        if layer.get("urls"):
            raise unsupported_image("a layer of the image is not in the archive but only linked to")
    digests = [_digest(layer, "digest") for layer in layers]
    config = _digest(_object(manifest.get("config"), "the config"), "digest")
    return _image(
        _object(blobs.json(_path(config), config), "the config"), [(_path(digest), digest) for digest in digests]
    )


def _chosen(blobs: Blobs, index: Json, depth: int) -> Json:
    """The one manifest in an index, or below it, for the guest's platform."""
    descriptors = [_object(each, "a descriptor") for each in _list(index, "manifests")[:_MOST_IMAGES]]
    fitting = {_digest(each, "digest"): each for each in descriptors if _fits(each.get("platform"))}
    if not fitting:
        raise unsupported_image(f"the archive holds no image for {'/'.join(_PLATFORM)}")
    if len(fitting) > 1:
        raise unsupported_image(f"the archive holds {len(fitting)} images, and code is one")
    digest, descriptor = fitting.popitem()
    found = _object(blobs.json(_path(digest), digest), "the manifest")
    if descriptor.get("mediaType") not in _INDEXES:
        return found
    if depth == _DEEPEST_INDEX:
        raise unsupported_image("the image's indexes lead to indexes again and again")
    return _chosen(blobs, found, depth + 1)


def _fits(platform: Any) -> bool:
    # One that says nothing is judged by its config; attestations are for a platform `unknown`.
    return platform is None or (isinstance(platform, dict) and _of_platform(cast("Json", platform)) == _PLATFORM)


def _of_platform(described: Json) -> tuple[Any, Any]:
    return described.get("os"), described.get("architecture")


def _of_docker(blobs: Blobs) -> Image:
    images = blobs.json("manifest.json")
    if not isinstance(images, list) or not images:
        raise corrupt("`manifest.json` lists no image")
    if len(cast("list[Any]", images)) > 1:
        raise unsupported_image(f"the archive holds {len(cast('list[Any]', images))} images, and code is one")
    manifest = _object(images[0], "the image in `manifest.json`")
    config = _object(blobs.json(_text(manifest, "Config")), "the config")
    files = _list(manifest, "Layers")
    if not all(isinstance(file, str) for file in files):
        raise corrupt("`manifest.json` names a layer that is no file")
    return _image(config, [(file, "") for file in files])


def _image(config: Json, files: Sequence[tuple[str, str]]) -> Image:
    if _of_platform(config) != _PLATFORM:
        built_for = "/".join(str(part) for part in _of_platform(config))
        raise UnsafeArchive(
            Reason.UNSUPPORTED,
            f"the image is for {shown(built_for)}; build it with `--platform {'/'.join(_PLATFORM)}`",
        )
    diffs = _list(_object(config.get("rootfs"), "`rootfs` of the config"), "diff_ids")
    if len(diffs) != len(files):
        raise corrupt(f"the image has {len(files)} layers, and its config tells of {len(diffs)}")
    if len(files) > MOST_LAYERS:
        raise unsupported_image(f"the image has {len(files)} layers, and up to {MOST_LAYERS} are allowed")
    layers = [
        Layer(file, digest, _digest({"diff_id": diff}, "diff_id"))
        for (file, digest), diff in zip(files, diffs, strict=True)
    ]
    settings = _object(config.get("config") or {}, "`config` of the config")
    return Image(layers, _text(settings, "WorkingDir") if settings.get("WorkingDir") else "")


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _digest(described: Json, key: str) -> str:
    told = _text(described, key)
    found = _DIGEST.fullmatch(told)
    if found is None:
        raise unsupported_image(f"a part of the image is known by {shown(told)}, which is no SHA-256")
    return found[1]


def _object(found: Any, what: str) -> Json:
    if not isinstance(found, dict):
        raise corrupt(f"{what} is no JSON object")
    return cast("Json", found)


def _list(described: Json, key: str) -> Sequence[Any]:
    found = described.get(key)
    if not isinstance(found, list):
        raise corrupt(f"the image's description has no list `{key}`")
    return cast("Sequence[Any]", found)


def _text(described: Json, key: str) -> str:
    found = described.get(key)
    if not isinstance(found, str):
        raise corrupt(f"the image's description has no text `{key}`")
    return found
