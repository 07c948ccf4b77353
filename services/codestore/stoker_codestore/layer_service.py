"""The service of layers: translate, call, translate back."""

import grpc.aio
from google.protobuf.empty_pb2 import Empty
from stoker_protos.v1 import layers_pb2, layers_pb2_grpc
from stoker_service import paging
from stoker_service.metadata import Context

from stoker_codestore import errors, names, wire
from stoker_codestore.callers import calling_tenant
from stoker_codestore.layers import Layers, LayerVersion
from stoker_codestore.versions import HIGHEST_NUMBER

LAYER_SERVICES = (layers_pb2.DESCRIPTOR.services_by_name["LayerService"],)


def serve_layers(layers: Layers, server: grpc.aio.Server) -> None:
    """Adds the service to a server."""
    layers_pb2_grpc.add_LayerServiceServicer_to_server(LayerServicer(layers), server)


class LayerServicer(layers_pb2_grpc.LayerServiceServicer):
    """Serves `stoker.v1.LayerService`."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    async def PublishLayerVersion(
        self, request: layers_pb2.PublishLayerVersionRequest, context: Context
    ) -> layers_pb2.PublishLayerVersionResponse:
        """Publishes a version of a layer."""
        description = wire.checked_text("version.description", request.version.description)
        version = await self._layers.publish(
            calling_tenant(context),
            names.layer_in(request.parent),
            names.sha256_in(request.version.artifact),
            description,
        )
        return layers_pb2.PublishLayerVersionResponse(version=_message(version))

    async def GetLayerVersion(
        self, request: layers_pb2.GetLayerVersionRequest, context: Context
    ) -> layers_pb2.GetLayerVersionResponse:
        """Returns a version of a layer."""
        version = await self._layers.get(
            calling_tenant(context), names.layer_in(request.name), names.version_in(request.name)
        )
        return layers_pb2.GetLayerVersionResponse(version=_message(version))

    async def ListLayers(
        self, request: layers_pb2.ListLayersRequest, context: Context
    ) -> layers_pb2.ListLayersResponse:
        """Lists layers."""
        size = paging.page_size(request.page_size)
        after = paging.decode_token(request.page_token)
        found = await self._layers.list_after(calling_tenant(context), after, size + 1)
        return layers_pb2.ListLayersResponse(
            layers=[_message(each) for each in found[:size]],
            next_page_token=paging.encode_token(found[size - 1].layer) if len(found) > size else "",
        )

    async def ListLayerVersions(
        self, request: layers_pb2.ListLayerVersionsRequest, context: Context
    ) -> layers_pb2.ListLayerVersionsResponse:
        """Lists a layer's versions."""
        size = paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token)
        if before and not names.is_number(before):
            raise errors.page_token_invalid()
        found = await self._layers.list_versions_before(
            calling_tenant(context), names.layer_in(request.parent), int(before) if before else HIGHEST_NUMBER, size + 1
        )
        return layers_pb2.ListLayerVersionsResponse(
            versions=[_message(each) for each in found[:size]],
            next_page_token=paging.encode_token(str(found[size - 1].number)) if len(found) > size else "",
        )

    async def DeleteLayerVersion(self, request: layers_pb2.DeleteLayerVersionRequest, context: Context) -> Empty:
        """Deletes a version of a layer."""
        await self._layers.delete(calling_tenant(context), names.layer_in(request.name), names.version_in(request.name))
        return Empty()


def _message(version: LayerVersion) -> layers_pb2.LayerVersion:
    return layers_pb2.LayerVersion(
        name=f"layers/{version.layer}/versions/{version.number}",
        number=version.number,
        artifact=f"artifacts/{version.artifact_sha256}",
        description=version.description,
        size_bytes=version.artifact_size_bytes,
        create_time=wire.timestamp(version.create_time),
    )
