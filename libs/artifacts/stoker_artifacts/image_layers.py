"""Reading a layer of an image, and checking that it is the one that the image means."""

import gzip
import hashlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import zstandard

from stoker_artifacts.contents import Member
from stoker_artifacts.errors import corrupt
from stoker_artifacts.image_blobs import Blob, Blobs, wrong_digest
from stoker_artifacts.image_manifest import Layer
from stoker_artifacts.limits import Limits
from stoker_artifacts.tars import MAGIC as GZIP_MAGIC
from stoker_artifacts.tars import Readable, TarStream, read_tar

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW_BYTES = 32 * 1024 * 1024
"""What a layer may ask us to keep in memory; zstd's levels up to 19 need 8 MiB."""


class LayerReader:
    """Reads layers one after the other. All together may be as long as one archive may."""

    def __init__(self, blobs: Blobs, limits: Limits) -> None:
        self._blobs = blobs
        self._limits = limits
        self._read_bytes = 0

    def read(self, layer: Layer) -> Iterator[Member]:
        """Yields the entries of a layer; after the last it has been checked.

        Raises:
            UnsafeArchive: It is damaged, or not what the image says.
        """
        magic = self._blobs.open(layer.file).read(len(_ZSTD_MAGIC))
        packed = self._blobs.open(layer.file)
        unpacked = _Unpacked(packed, magic)
        stream = TarStream(unpacked, self._limits, self._read_bytes)
        yield from read_tar(stream)
        packed.read_to_end()
        if layer.sha256:
            packed.check(layer.sha256)
        unpacked.check(layer)
        self._read_bytes += stream.position


class _Unpacked:
    """The tar of a layer, hashed while it is read."""

    def __init__(self, packed: Blob, magic: bytes) -> None:
        self._file = _decompressed(packed, magic)
        self._digest = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """The next bytes, `size` of them unless the end is nearer."""
        try:
            read = self._file.read(size)
        except zstandard.ZstdError as error:
            raise corrupt("a layer cannot be decompressed") from error
        self._digest.update(read)
        return read

    def check(self, layer: Layer) -> None:
        """Returns if this is the layer that the image means."""
        if self._digest.hexdigest() != layer.unpacked_sha256:
            raise wrong_digest(f"{layer.file}, unpacked", layer.unpacked_sha256, self._digest.hexdigest())


def _decompressed(packed: Blob, magic: bytes) -> Readable:
    # By its bytes, since `docker save` does not tell how a layer is packed.
    if magic.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=cast("BinaryIO", packed), mode="rb")
    if magic == _ZSTD_MAGIC:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        return decompressor.stream_reader(cast("BinaryIO", packed), read_across_frames=True)
    return packed
