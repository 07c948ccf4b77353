"""What a deploy does, step by step, without I/O.

`deploy` is a generator: it yields a call, is sent what came of it, and returns what it has done. The blocking and the
asyncio client both drive it.
"""

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from stoker import artifact_requests, layer_requests, requests
from stoker.artifact_requests import Progress
from stoker.calls import UnaryOf, UploadOf
from stoker.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from stoker.models import Alias, Artifact, Deployment, Function, LayerVersion, Version, VersionOptions
from stoker.names import split_layer
from stoker.packing import Packed
from stoker.signing import PrivateKey

Result = TypeVar("Result")
Call: TypeAlias = UnaryOf[Any] | UploadOf[Any]
Steps: TypeAlias = Generator[Call, Any, Result]


def deploy(
    name: str,
    code: Packed,
    options: VersionOptions,
    alias: str | None,
    progress: Progress | None,
    sign_with: PrivateKey | None = None,
    prewarm: int = 0,
) -> Steps[Deployment]:
    """Brings code to Stoker, publishes it as a version, signed if a key is given, and points `alias` at that, if any.

    The function is made where it is missing; it is taken away again where its first version is refused.
    """
    # Made first, so that what is malformed is refused before anything is sent.
    publish = requests.publish_version(name, code.sha256, options, prewarm=prewarm)
    if sign_with is not None:
        layers = yield from _layer_digests(options)
        signature = sign_with.sign(code.sha256, layers)
        publish = requests.publish_version(name, code.sha256, options, signature=signature, prewarm=prewarm)
    artifact, was_uploaded = yield from _upload(code, progress)
    function, is_new = yield from _ensure_function(name)
    try:
        version: Version = yield publish
    except (InvalidArgument, NotFound, FailedPrecondition, ResourceExhausted):
        # What it says is wrong, it names a layer that is not there, it is not signed as it must be, or is one too many.
        if is_new:
            yield requests.delete_function(name, function.etag)
        raise
    moved: Alias | None = None
    if alias is not None:
        moved = yield requests.set_alias(name, alias, {version.number: 100})
    return Deployment(
        version=version,
        alias=moved,
        artifact=artifact,
        is_new_function=is_new,
        is_new_version=version.number > function.latest_version,
        was_uploaded=was_uploaded,
    )


def publish_layer(layer: str, files: Packed, description: str, progress: Progress | None) -> Steps[LayerVersion]:
    """Brings files to Stoker, and publishes them as a version of a layer."""
    publish = layer_requests.publish_layer_version(layer, files.sha256, description)
    yield from _upload(files, progress)
    version: LayerVersion = yield publish
    return version


def _layer_digests(options: VersionOptions) -> Steps[list[str]]:
    digests: list[str] = []
    for layer in options.get("layers", ()):
        version: LayerVersion = yield layer_requests.get_layer_version(*split_layer(layer, "layers"))
        digests.append(version.artifact_sha256)
    return digests


def _upload(code: Packed, progress: Progress | None) -> Steps[tuple[Artifact, bool]]:
    try:
        artifact: Artifact = yield artifact_requests.get_artifact(code.sha256)
    except NotFound:
        artifact = yield artifact_requests.upload_artifact(code, progress)
        return artifact, True
    return artifact, False


def _ensure_function(name: str) -> Steps[tuple[Function, bool]]:
    try:
        function: Function = yield requests.get_function(name)
    except NotFound:
        try:
            function = yield requests.create_function(name)
        except AlreadyExists:
            # Somebody else was quicker.
            function = yield requests.get_function(name)
            return function, False
        return function, True
    return function, False
