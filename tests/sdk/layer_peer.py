"""The part of the small Stoker that keeps layers."""

from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.v1 import layers_pb2
from stoker_service.errors import ErrorKind, StokerError

_NOW = Timestamp(seconds=1_700_000_000)


class LayerPeer:
    """Layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[layers_pb2.LayerVersion] = []

    def PublishLayerVersion(self, request: Any, _context: Any) -> Any:
        version = request.version
        version.number = 1 + sum(each.name.startswith(f"{request.parent}/") for each in self.layers)
        version.name, version.size_bytes = f"{request.parent}/versions/{version.number}", 2048
        version.create_time.CopyFrom(_NOW)
        self.layers.append(version)
        return layers_pb2.PublishLayerVersionResponse(version=version)

    def GetLayerVersion(self, request: Any, _context: Any) -> Any:
        return layers_pb2.GetLayerVersionResponse(version=self._named(request.name))

    def ListLayers(self, request: Any, _context: Any) -> Any:
        newest = {each.name.split("/")[1]: each for each in self.layers}
        return layers_pb2.ListLayersResponse(layers=[newest[name] for name in sorted(newest)])

    def ListLayerVersions(self, request: Any, _context: Any) -> Any:
        found = [each for each in reversed(self.layers) if each.name.startswith(f"{request.parent}/")]
        return layers_pb2.ListLayerVersionsResponse(versions=found)

    def DeleteLayerVersion(self, request: Any, _context: Any) -> Any:
        self.layers.remove(self._named(request.name))
        return Empty()

    def _named(self, name: str) -> layers_pb2.LayerVersion:
        for each in self.layers:
            if each.name == name:
                return each
        raise StokerError(ErrorKind.NOT_FOUND, "LAYER_NOT_FOUND", f"there is no {name}")
