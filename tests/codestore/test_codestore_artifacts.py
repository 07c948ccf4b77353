"""Artifacts, in both kinds of stores."""

import asyncio
import gzip
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import from_url
from stoker_protos.v1 import artifacts_pb2
from stoker_service.errors import ErrorKind

from tests.codestore.world import (
    ANN,
    BOB,
    CODE,
    OTHER_CODE,
    WITHIN_S,
    World,
    chunk,
    failure_of,
    header,
    running_world,
    settings_of,
    sha256,
    zip_of,
)

LARGE = zip_of({"app.py": os.urandom(11 * 1024 * 1024)})
"""More than is written to a store at once."""


@pytest.fixture
async def stored(tmp_path: Path, artifacts_url: str) -> AsyncGenerator[World]:
    """A codestore on each kind of store."""
    async with running_world(settings_of(tmp_path, sqlite(tmp_path), artifacts_url)) as running:
        yield running


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncGenerator[World]:
    """A codestore on a directory, for what never comes to a store."""
    async with running_world(settings_of(tmp_path, sqlite(tmp_path))) as running:
        yield running


def sqlite(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/codestore.db"


def objects_in(url: str) -> list[str]:
    """The names of all that a store holds."""
    listed: Any = obstore.list(from_url(url))  # pyright: ignore[reportUnknownMemberType] - of one overload among four
    return sorted(found["path"] for page in listed for found in page)


def archives_in(url: str) -> list[str]:
    """The names of the artifacts that a store holds, without what they consist of."""
    return [name for name in objects_in(url) if not name.startswith(("chunks/", "manifests/"))]


def files_below(directory: Path) -> list[Path]:
    """All that is left in a codestore's directories of artifacts and uploads."""
    of_artifacts = [path for path in (directory / "artifacts").rglob("*") if path.is_file()]
    return [*of_artifacts, *(directory / "uploads").iterdir()]


@pytest.mark.parametrize("data", [CODE, LARGE], ids=["small", "large"])
async def test_an_artifact_comes_back_as_it_was_uploaded(stored: World, data: bytes) -> None:
    uploaded = (await stored.upload(data)).artifact
    assert uploaded == (await stored.artifact(sha256(data))).artifact
    assert uploaded.name == f"artifacts/{sha256(data)}"
    assert uploaded.format == artifacts_pb2.ARTIFACT_FORMAT_ZIP
    assert (uploaded.size_bytes, uploaded.file_count) == (len(data), 1)
    assert uploaded.HasField("create_time")
    chunks = await stored.download(sha256(data))
    assert b"".join(chunks) == data
    assert max(len(part) for part in chunks) <= 1024 * 1024
    assert await stored.fetch("ann", sha256(data)) == data


async def test_the_same_content_is_stored_once_and_seen_by_whom_it_belongs_to(
    stored: World, artifacts_url: str
) -> None:
    await stored.upload(CODE, ANN)
    assert (await failure_of(stored.artifact(sha256(CODE), BOB))).reason == "ARTIFACT_NOT_FOUND"
    of_bob = (await stored.upload(CODE, BOB)).artifact
    first = (await stored.artifact(sha256(CODE), ANN)).artifact
    again = (await stored.upload(CODE, ANN)).artifact
    assert first == again
    assert of_bob.create_time != first.create_time
    assert len(archives_in(artifacts_url)) == 1


async def test_another_tenants_artifact_is_as_one_that_is_not_there(stored: World) -> None:
    await stored.upload(OTHER_CODE, BOB)
    for digest in (sha256(OTHER_CODE), sha256(CODE)):
        for call in (stored.artifact(digest), stored.download(digest), stored.fetch("ann", digest)):
            error = await failure_of(call)
            assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND")
    # Not even the bytes of another can be had by their digest: they must be sent.
    error = await failure_of(stored.send(header(OTHER_CODE), chunk(CODE[:100])))
    assert error.reason == "SIZE_MISMATCH"
    assert (await failure_of(stored.artifact(sha256(OTHER_CODE)))).reason == "ARTIFACT_NOT_FOUND"


async def test_the_same_content_uploaded_at_once_is_stored_once(stored: World, artifacts_url: str) -> None:
    uploads = [stored.upload(CODE, metadata) for metadata in (ANN, BOB, ANN, BOB)]
    names = {(await upload).artifact.name for upload in uploads}
    assert names == {f"artifacts/{sha256(CODE)}"}
    assert len(archives_in(artifacts_url)) == 1


async def test_a_content_that_the_store_has_lost_is_told_and_can_be_uploaded_again(
    stored: World, artifacts_url: str
) -> None:
    await stored.upload(CODE)
    obstore.delete(from_url(artifacts_url), objects_in(artifacts_url))
    for call in (stored.download(sha256(CODE)), stored.fetch("ann", sha256(CODE))):
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.DATA_LOSS, "ARTIFACT_LOST")
    await stored.upload(CODE)
    assert await stored.fetch("ann", sha256(CODE)) == CODE


@pytest.mark.parametrize(
    ("parts", "reason", "field"),
    [
        ([], "UPLOAD_MALFORMED", "header"),
        ([chunk(CODE)], "UPLOAD_MALFORMED", "header"),
        ([header(CODE), header(CODE), chunk(CODE)], "UPLOAD_MALFORMED", "header"),
        ([header(CODE), chunk(CODE), header(CODE)], "UPLOAD_MALFORMED", "header"),
        ([header(CODE)], "SIZE_MISMATCH", "header.size_bytes"),
        ([header(CODE), chunk(CODE[:-1])], "SIZE_MISMATCH", "header.size_bytes"),
        ([header(CODE), chunk(CODE), chunk(b"x")], "SIZE_MISMATCH", "header.size_bytes"),
        ([header(CODE, digest="0" * 64), chunk(CODE)], "DIGEST_MISMATCH", "header.sha256"),
        ([header(CODE), chunk(OTHER_CODE[: len(CODE)].ljust(len(CODE), b"x"))], "DIGEST_MISMATCH", "header.sha256"),
        ([header(CODE, digest="X" * 64)], "INVALID_FIELD", "header.sha256"),
        ([header(CODE, size=-1)], "INVALID_FIELD", "header.size_bytes"),
        ([header(CODE, size=256 * 1024 * 1024 + 1)], "INVALID_FIELD", "header.size_bytes"),
        ([header(CODE), chunk(b"")], "INVALID_FIELD", "chunk"),
        ([header(CODE), chunk(bytes(1024 * 1024 + 1))], "INVALID_FIELD", "chunk"),
        ([artifacts_pb2.UploadArtifactRequest()], "INVALID_FIELD", "part"),
        ([header(b"no archive"), chunk(b"no archive")], "ARTIFACT_UNSAFE", "chunk"),
        ([header(CODE[:-5]), chunk(CODE[:-5])], "ARTIFACT_UNSAFE", "chunk"),
    ],
)
async def test_a_bad_upload_is_refused_by_name_and_leaves_nothing(
    kept: World, tmp_path: Path, parts: list[artifacts_pb2.UploadArtifactRequest], reason: str, field: str
) -> None:
    error = await failure_of(kept.send(*parts))
    assert (error.kind, error.reason, error.field) == (ErrorKind.INVALID_ARGUMENT, reason, field)
    assert error.message.startswith(field)
    assert files_below(tmp_path) == []
    await kept.upload(CODE)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (zip_of({"../evil": b"x"}), "OUTSIDE"),
        (zip_of({"app.py": b"x"}).replace(b"app.py", b"app\xffpy"), "BAD_NAME"),
        (gzip.compress(b"x" * 2000, mtime=0), "CORRUPT"),
        (zip_of({}), "EMPTY"),
        (b"MZ\x90", "UNKNOWN_FORMAT"),
    ],
)
async def test_an_unsafe_archive_is_refused_with_its_rule(kept: World, tmp_path: Path, data: bytes, rule: str) -> None:
    error = await failure_of(kept.upload(data))
    assert (error.kind, error.reason, error.metadata) == (
        ErrorKind.INVALID_ARGUMENT,
        "ARTIFACT_UNSAFE",
        {"rule": rule},
    )
    assert files_below(tmp_path) == []


class Paused:
    """An upload that has sent its header and first bytes, and waits."""

    def __init__(self, world: World, data: bytes = CODE) -> None:
        self._data = data
        self._go_on = asyncio.Event()
        self._begun = asyncio.Event()
        self.call = world.artifacts.UploadArtifact(self._messages(), metadata=ANN, timeout=WITHIN_S)

    async def begun(self) -> None:
        await self._begun.wait()

    def go_on(self) -> None:
        self._go_on.set()

    async def _messages(self) -> AsyncIterator[artifacts_pb2.UploadArtifactRequest]:
        yield header(self._data)
        yield chunk(self._data[:50])
        self._begun.set()
        await self._go_on.wait()
        yield chunk(self._data[50:])


async def test_an_upload_that_the_client_cancels_leaves_nothing(kept: World, tmp_path: Path) -> None:
    paused = Paused(kept)
    await paused.begun()
    paused.call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paused.call
    assert (await failure_of(kept.artifact(sha256(CODE)))).reason == "ARTIFACT_NOT_FOUND"
    assert files_below(tmp_path) == []


async def test_more_uploads_than_allowed_are_refused_at_once(tmp_path: Path) -> None:
    async with running_world(settings_of(tmp_path, sqlite(tmp_path), max_uploads=1)) as world:
        paused = Paused(world)
        await paused.begun()
        error = await failure_of(world.upload(OTHER_CODE))
        assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "TOO_MANY_UPLOADS")
        assert error.retry_after_s == 1
        paused.go_on()
        assert (await paused.call).artifact.size_bytes == len(CODE)
        await world.upload(OTHER_CODE)


async def test_an_upload_that_stalls_is_ended(tmp_path: Path) -> None:
    async with running_world(settings_of(tmp_path, sqlite(tmp_path), upload_idle_s=0.2, max_uploads=1)) as world:
        error = await failure_of(Paused(world).call)
        assert (error.kind, error.reason) == (ErrorKind.DEADLINE_EXCEEDED, "UPLOAD_STALLED")
        await world.upload()


async def test_an_upload_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async with running_world(settings_of(tmp_path, sqlite(tmp_path), upload_s=0.2, max_uploads=1)) as world:
        error = await failure_of(Paused(world).call)
        assert (error.kind, error.reason) == (ErrorKind.DEADLINE_EXCEEDED, "UPLOAD_TOO_SLOW")


async def test_a_store_that_does_not_answer_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(name, value)
    async with running_world(settings_of(tmp_path, sqlite(tmp_path), "s3://nowhere")) as world:
        error = await failure_of(world.upload())
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "ARTIFACT_STORE_UNAVAILABLE")
        assert error.retry_after_s == 1
        assert (await failure_of(world.artifact(sha256(CODE)))).reason == "ARTIFACT_NOT_FOUND"
