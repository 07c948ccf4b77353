"""The calls about layers, as values."""

from stoker_protos.v1 import layers_pb2

from stoker.calls import Listing, Page, Unary, UnaryOf
from stoker.models import LayerVersion
from stoker.names import last_part, layer_path, layer_version_path, part
from stoker.retries import Retry
from stoker.wire import time_of

_AGAIN = Retry.WHEN_UNAVAILABLE


def publish_layer_version(layer: str, artifact_sha256: str, description: str) -> UnaryOf[LayerVersion]:
    """Publishes a layer's next version."""
    version = layers_pb2.LayerVersion(artifact=f"artifacts/{artifact_sha256}", description=description)
    return Unary(
        lambda stubs: stubs.layers.PublishLayerVersion,
        layers_pb2.PublishLayerVersionRequest(parent=layer_path(layer), version=version),
        lambda response: _version(response.version),
        _AGAIN,
    )


def get_layer_version(layer: str, number: int) -> UnaryOf[LayerVersion]:
    """Returns a version of a layer."""
    return Unary(
        lambda stubs: stubs.layers.GetLayerVersion,
        layers_pb2.GetLayerVersionRequest(name=layer_version_path(layer, number)),
        lambda response: _version(response.version),
        _AGAIN,
    )


def list_layers() -> Listing[LayerVersion]:
    """Lists the newest version of each layer, by name."""
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.layers.ListLayers,
            layers_pb2.ListLayersRequest(page_token=token),
            lambda response: Page([_version(each) for each in response.layers], response.next_page_token),
            _AGAIN,
        )
    )


def list_layer_versions(layer: str) -> Listing[LayerVersion]:
    """Lists a layer's versions, newest first."""
    parent = layer_path(layer)
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.layers.ListLayerVersions,
            layers_pb2.ListLayerVersionsRequest(parent=parent, page_token=token),
            lambda response: Page([_version(each) for each in response.versions], response.next_page_token),
            _AGAIN,
        )
    )


def delete_layer_version(layer: str, number: int) -> UnaryOf[None]:
    """Deletes a version of a layer."""
    return Unary(
        lambda stubs: stubs.layers.DeleteLayerVersion,
        layers_pb2.DeleteLayerVersionRequest(name=layer_version_path(layer, number)),
        lambda _: None,
    )


def _version(message: layers_pb2.LayerVersion) -> LayerVersion:
    return LayerVersion(
        layer=part(message.name, 1),
        number=message.number,
        artifact_sha256=last_part(message.artifact),
        size_bytes=message.size_bytes,
        description=message.description,
        create_time=time_of(message.create_time),
    )
