"""The calls about artifacts, as values."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from stoker_protos.v1 import artifacts_pb2

from stoker import wire
from stoker.calls import Stream, StreamOf, Unary, UnaryOf, Upload, UploadOf
from stoker.models import Artifact
from stoker.packing import Packed, chunks
from stoker.retries import Retry

UPLOAD_TIMEOUT_S = 3600.0

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many bytes have been sent, and of how many."""


def get_artifact(sha256: str) -> UnaryOf[Artifact]:
    """Returns what is known of an artifact."""
    return Unary(
        lambda stubs: stubs.artifacts.GetArtifact,
        artifacts_pb2.GetArtifactRequest(name=f"artifacts/{sha256}"),
        lambda response: wire.artifact_of(response.artifact),
        Retry.WHEN_UNAVAILABLE,
    )


def upload_artifact(packed: Packed, progress: Progress | None) -> UploadOf[Artifact]:
    """Uploads an artifact."""

    def requests() -> Iterator[artifacts_pb2.UploadArtifactRequest]:
        header = artifacts_pb2.UploadArtifactHeader(sha256=packed.sha256, size_bytes=packed.size_bytes)
        yield artifacts_pb2.UploadArtifactRequest(header=header)
        sent = 0
        for chunk in chunks(packed.file):
            yield artifacts_pb2.UploadArtifactRequest(chunk=chunk)
            sent += len(chunk)
            if progress is not None:
                progress(sent, packed.size_bytes)

    return Upload(
        lambda stubs: stubs.artifacts.UploadArtifact,
        requests,
        lambda response: wire.artifact_of(response.artifact),
        UPLOAD_TIMEOUT_S,
    )


def download_artifact(sha256: str) -> StreamOf[bytes]:
    """Reads an artifact's bytes."""
    return Stream(
        lambda stubs: stubs.artifacts.DownloadArtifact,
        artifacts_pb2.DownloadArtifactRequest(name=f"artifacts/{sha256}"),
        lambda response: response.chunk,
        UPLOAD_TIMEOUT_S,
    )
