"""Layers: published, listed, used by versions of functions, and deleted only when none has them."""

import asyncio
from typing import Any

import pytest
from stoker_protos.v1 import layers_pb2
from stoker_service.errors import ErrorKind

from tests.codestore.world import ANN, BOB, CODE, OTHER_CODE, WITHIN_S, Metadata, World, failure_of, sha256, zip_of

FILES = zip_of({"python/shared.py": b"VALUE = 1\n"})
OTHER_FILES = zip_of({"python/shared.py": b"VALUE = 2\n"})


class LayerCalls:
    """Calls of the service of layers."""

    def __init__(self, world: World) -> None:
        # The stubs of a world share its channel.
        self._stub: Any = world.layers

    def publish(self, layer: str, data: bytes = FILES, metadata: Metadata = ANN, description: str = "") -> Any:
        version = layers_pb2.LayerVersion(artifact=f"artifacts/{sha256(data)}", description=description)
        request = layers_pb2.PublishLayerVersionRequest(parent=f"layers/{layer}", version=version)
        return self._stub.PublishLayerVersion(request, metadata=metadata, timeout=WITHIN_S)

    def get(self, layer: str, number: int, metadata: Metadata = ANN) -> Any:
        request = layers_pb2.GetLayerVersionRequest(name=f"layers/{layer}/versions/{number}")
        return self._stub.GetLayerVersion(request, metadata=metadata, timeout=WITHIN_S)

    def delete(self, layer: str, number: int, metadata: Metadata = ANN) -> Any:
        request = layers_pb2.DeleteLayerVersionRequest(name=f"layers/{layer}/versions/{number}")
        return self._stub.DeleteLayerVersion(request, metadata=metadata, timeout=WITHIN_S)

    async def names(self, size: int, metadata: Metadata = ANN) -> list[str]:
        """The newest versions of all layers, by pages of that size."""
        found: list[str] = []
        token = ""
        while True:
            request = layers_pb2.ListLayersRequest(page_size=size, page_token=token)
            page = await self._stub.ListLayers(request, metadata=metadata, timeout=WITHIN_S)
            found += [each.name for each in page.layers]
            token = page.next_page_token
            if not token:
                return found

    async def numbers(self, layer: str, size: int) -> list[int]:
        """The numbers of a layer's versions, by pages of that size."""
        found: list[int] = []
        token = ""
        while True:
            request = layers_pb2.ListLayerVersionsRequest(parent=f"layers/{layer}", page_size=size, page_token=token)
            page = await self._stub.ListLayerVersions(request, metadata=ANN, timeout=WITHIN_S)
            found += [each.number for each in page.versions]
            token = page.next_page_token
            if not token:
                return found


@pytest.fixture
def layers(world: World) -> LayerCalls:
    return LayerCalls(world)


def path(layer: str, number: int) -> str:
    return f"layers/{layer}/versions/{number}"


async def test_a_version_of_a_layer_is_as_it_was_published(world: World, layers: LayerCalls) -> None:
    await world.upload(FILES)
    published = (await layers.publish("shared", description="what all need")).version
    assert published == (await layers.get("shared", 1)).version
    assert published.name == path("shared", 1)
    assert (published.number, published.size_bytes) == (1, len(FILES))
    assert published.artifact == f"artifacts/{sha256(FILES)}"
    assert published.description == "what all need"
    assert published.HasField("create_time")


async def test_publishing_what_the_newest_version_is_makes_nothing_new(world: World, layers: LayerCalls) -> None:
    await world.upload(FILES)
    await world.upload(OTHER_FILES)
    assert (await layers.publish("shared")).version.number == 1
    assert (await layers.publish("shared")).version.number == 1
    assert (await layers.publish("shared", OTHER_FILES)).version.number == 2
    assert (await layers.publish("shared")).version.number == 3


async def test_a_layer_needs_an_artifact_of_its_tenant(world: World, layers: LayerCalls) -> None:
    await world.upload(FILES, BOB)
    error = await failure_of(layers.publish("shared"))
    assert (error.kind, error.reason, error.field) == (ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND", "version.artifact")
    assert await layers.names(10) == []


async def test_layers_are_listed_by_name_and_versions_newest_first(world: World, layers: LayerCalls) -> None:
    await world.upload(FILES)
    await world.upload(OTHER_FILES)
    for layer in ("c", "a", "b"):
        await layers.publish(layer)
    await layers.publish("b", OTHER_FILES)
    await layers.publish("b", FILES)
    for size in (1, 2, 10):
        assert await layers.names(size) == [path("a", 1), path("b", 3), path("c", 1)]
        assert await layers.numbers("b", size) == [3, 2, 1]
    assert await layers.names(10, BOB) == []
    assert (await failure_of(layers.get("b", 3, BOB))).reason == "LAYER_NOT_FOUND"


async def test_a_version_of_a_function_tells_hosts_what_its_layers_are(world: World, layers: LayerCalls) -> None:
    for data in (CODE, FILES, OTHER_FILES):
        await world.upload(data)
    await layers.publish("one")
    await layers.publish("two", OTHER_FILES)
    await world.create("hello")
    names = [path("two", 1), path("one", 1)]
    published = (await world.publish("hello", layers=names)).version
    assert list(published.layers) == names
    assert (await world.version("hello", 1)).version == published
    spec = (await world.resolve("ann", "hello", "1")).routes[0].spec
    assert [(each.artifact_sha256, each.artifact_size_bytes) for each in spec.layers] == [
        (sha256(OTHER_FILES), len(OTHER_FILES)),
        (sha256(FILES), len(FILES)),
    ]
    assert (await world.publish("hello", layers=names)).version.number == 1
    assert (await world.publish("hello", layers=names[::-1])).version.number == 2


@pytest.mark.parametrize(
    ("names", "reason", "field"),
    [
        (["layers/shared/versions/2"], "LAYER_NOT_FOUND", "version.layers[0]"),
        (["layers/shared/versions/1", "layers/other/versions/1"], "LAYER_NOT_FOUND", "version.layers[1]"),
        (["layers/shared"], "INVALID_FIELD", "version.layers[0]"),
        (["layers/shared/versions/1"] * 2, "INVALID_FIELD", "version.layers"),
        ([f"layers/shared/versions/{number}" for number in range(1, 7)], "INVALID_FIELD", "version.layers"),
    ],
)
async def test_layers_that_cannot_be_are_refused_by_name(
    world: World, layers: LayerCalls, names: list[str], reason: str, field: str
) -> None:
    await world.upload()
    await world.upload(FILES)
    await world.upload(FILES, BOB)
    await layers.publish("shared")
    await layers.publish("other", metadata=BOB)
    await world.create("hello")
    error = await failure_of(world.publish("hello", layers=names))
    assert (error.reason, error.field) == (reason, field)


async def test_a_version_that_a_function_has_is_not_deleted(world: World, layers: LayerCalls) -> None:
    await world.upload()
    await world.upload(OTHER_CODE)
    await world.upload(FILES)
    await layers.publish("shared")
    await world.create("hello")
    await world.publish("hello", layers=[path("shared", 1)])
    await world.publish("hello", data=OTHER_CODE)
    error = await failure_of(layers.delete("shared", 1))
    assert (error.kind, error.reason) == (ErrorKind.FAILED_PRECONDITION, "LAYER_IN_USE")
    assert error.metadata == {"version": "functions/hello/versions/1"}
    assert error.message.startswith("functions/hello/versions/1 has version 1 of the layer `shared`")
    await world.delete_version("hello", 1)
    await layers.delete("shared", 1)
    assert (await failure_of(layers.get("shared", 1))).reason == "LAYER_NOT_FOUND"
    assert (await failure_of(layers.delete("shared", 1))).reason == "LAYER_NOT_FOUND"
    assert await layers.names(10) == []
    # Its number is never given again.
    assert (await layers.publish("shared")).version.number == 2


async def test_a_layer_is_either_used_or_deleted_but_never_both(world: World, layers: LayerCalls) -> None:
    await world.upload()
    await world.upload(FILES)
    await world.create("hello")
    for number in range(1, 9):
        await layers.publish("shared", description=str(number))
        calls = [
            world.publish("hello", layers=[path("shared", number)], description=str(number)),
            layers.delete("shared", number),
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, BaseException) for outcome in outcomes) == 1
