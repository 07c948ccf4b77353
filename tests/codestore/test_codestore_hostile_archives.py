"""Archives that mean harm, sent as any client would send them: refused, with why, and nothing of them is left."""

import gzip
import json
import struct
import tarfile
import zipfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from stoker_service.errors import ErrorKind

from tests.artifacts.archives import Item, Type, directory, hard_link, symlink, tar_bytes, tar_gz_bytes, zip_bytes
from tests.artifacts.images import (
    ImageParts,
    digest,
    docker,
    docker_files,
    image,
    layout,
    layout_files,
    sha256,
    tar_of,
)
from tests.codestore.world import World, failure_of, running_world, settings_of

pytestmark = pytest.mark.thorough

MIB = 1024 * 1024
APP = Item("app.py", b"def handler(event, context): return event\n" * 3)


def of_image(*entries: Item) -> bytes:
    """An image with these entries in its one layer."""
    return layout(image(list(entries)))


IN_ALL: dict[str, tuple[str, list[Item]]] = {
    "traversal": ("OUTSIDE", [APP, Item("../evil", b"x")]),
    "traversal in the middle": ("OUTSIDE", [APP, Item("a/../../../etc/cron.d/evil", b"x")]),
    "traversal by a directory": ("OUTSIDE", [APP, directory("../evil")]),
    "absolute path": ("OUTSIDE", [APP, Item("/etc/cron.d/evil", b"x")]),
    "link out of the tree": ("LINK", [APP, symlink("a/link", "../../etc")]),
    "link out by way of another": ("LINK", [APP, symlink("a/up", ".."), symlink("out", "a/up/..")]),
    "file through a link": ("CONFLICT", [APP, symlink("link", "a"), Item("link/evil", b"x")]),
    "file below a file": ("CONFLICT", [APP, Item("app.py/evil", b"x")]),
    "same name twice": ("DUPLICATE", [APP, APP]),
    "same name in two ways": ("DUPLICATE", [APP, Item("./app.py", b"evil")]),
    "device": ("SPECIAL_FILE", [APP, Item("sda", type=Type.DEVICE)]),
    "pipe": ("SPECIAL_FILE", [APP, Item("pipe", type=Type.FIFO)]),
    "backslashes": ("BAD_NAME", [APP, Item("..\\..\\evil", b"x")]),
    "control characters": ("BAD_NAME", [APP, Item("a\x1b[2Jb", b"x")]),
    "absurdly long name": ("BAD_NAME", [APP, Item("n" * 256, b"x")]),
    "absurdly deep path": ("BAD_NAME", [APP, Item("d/" * 600 + "x", b"x")]),
    "bomb by ratio": ("RATIO", [APP, Item("zeros", bytes(17 * MIB))]),
    "nothing": ("EMPTY", [directory("a")]),
}


def bomb_by_size() -> bytes:
    """A zip whose directory says that 5 GiB are in it."""
    data = bytearray(zip_bytes([APP]))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<L", 0xFFFFFFF0)
    return bytes(data)


def encrypted_zip() -> bytes:
    data = bytearray(zip_bytes([APP]))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    return bytes(data)


def bad_crc() -> bytes:
    data = bytearray(zip_bytes([APP], zipfile.ZIP_STORED))
    data[data.index(APP.data) + 5] ^= 1
    return bytes(data)


def many_entries() -> bytes:
    """More than 100,000 directories, of which nearly all are only named on the way to a file."""
    return tar_gz_bytes([Item(f"{number}/{'d/' * 99}x", b"") for number in range(1001)])


def tar_says(size: int) -> bytes:
    """A tar.gz with a header that says of a file how long it is."""
    info = tarfile.TarInfo("app.py")
    info.size = size
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


def with_whiteout(*items: Item) -> bytes:
    return layout(image([APP, Item("a/b", b"x")], list(items)))


def with_layer(change: Callable[[bytes], bytes]) -> bytes:
    """An image of which one layer is another than its description says."""
    parts = image([APP])
    files = layout_files(parts)
    name = f"blobs/sha256/{sha256(parts.packed_layers()[0])}"
    return tar_of({**files, name: change(files[name])})


def with_docker_layer(change: Callable[[bytes], bytes]) -> bytes:
    files = docker_files(image([APP], compression=""))
    name = next(name for name in files if name.endswith("layer.tar"))
    return tar_of({**files, name: change(files[name])})


def with_index(change: Callable[[Any], None]) -> bytes:
    files = layout_files(image([APP]))
    index = json.loads(files["index.json"])
    change(index)
    return tar_of({**files, "index.json": json.dumps(index).encode()})


def with_outer(*items: Item) -> bytes:
    """An image of which the archive itself holds more than it should."""
    files = layout_files(image([APP]))
    return tar_bytes([*(Item(name, data) for name, data in files.items()), *items])


def layers_that_swell() -> bytes:
    """An image of which each layer is allowed, and all together are not."""
    return layout(image(*[[Item(f"zeros{number}", bytes(6 * MIB))] for number in range(3)]))


def index_of_itself() -> bytes:
    def change(index: Any) -> None:
        index["manifests"] = index["manifests"] * 2
        index["manifests"][0] = {**index["manifests"][0], "digest": digest(b"other")}

    return with_index(change)


def of_arm() -> bytes:
    return layout(image([APP], platform={"os": "linux", "architecture": "arm64"}))


OF_ONE_FORMAT: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip: absolute link": ("LINK", lambda: zip_bytes([APP, symlink("link", "/etc/passwd")])),
    "tar.gz: absolute link": ("LINK", lambda: tar_gz_bytes([APP, symlink("link", "/etc/passwd")])),
    "image: absolute link out of the code": (
        "LINK",
        lambda: layout(image([Item("app/a", b"x"), symlink("app/link", "/etc/passwd")], working_directory="/app")),
    ),
    "zip: encrypted": ("ENCRYPTED", encrypted_zip),
    "zip: bad CRC": ("CORRUPT", bad_crc),
    "zip: says that it is huge": ("TOO_LARGE", bomb_by_size),
    "zip: an unknown compression": ("UNSUPPORTED", lambda: zip_bytes([APP], zipfile.ZIP_LZMA)),
    "zip: a name that is no UTF-8": ("BAD_NAME", lambda: zip_bytes([APP]).replace(b"app.py", b"a\xffp.py")),
    "zip: two names for one place": (
        "CORRUPT",
        lambda: zip_bytes([APP]).replace(b"app.py", b"pwn.py", 1),
    ),
    "tar.gz: too many entries": ("TOO_MANY_ENTRIES", many_entries),
    "tar.gz: says that it is huge": ("TOO_LARGE", lambda: tar_says(2**40)),
    "tar.gz: a hard link out": ("OUTSIDE", lambda: tar_gz_bytes([APP, hard_link("link", "../../etc/passwd")])),
    "tar.gz: a hard link to nothing": ("LINK", lambda: tar_gz_bytes([APP, hard_link("link", "nothing")])),
    "tar.gz: a bad checksum": ("CORRUPT", lambda: gzip.compress(tar_bytes([APP]).replace(b"app.py", b"bpp.py"))),
    "tar.gz: data after its end": ("CORRUPT", lambda: tar_gz_bytes([APP]) + b"evil"),
    "image: a whiteout that leaves the root": ("OUTSIDE", lambda: with_whiteout(Item("../.wh.etc"))),
    "image: a whiteout of the root": ("OUTSIDE", lambda: with_whiteout(Item(".wh.."))),
    "image: a whiteout of what is above": ("OUTSIDE", lambda: with_whiteout(Item("a/.wh..."))),
    "image: a whiteout without a name": ("OUTSIDE", lambda: with_whiteout(Item("a/.wh."))),
    "image: an opaque whiteout that leaves": ("OUTSIDE", lambda: with_whiteout(Item("a/../../.wh..wh..opq"))),
    "image: an opaque whiteout through a link": (
        "CONFLICT",
        lambda: layout(image([APP, symlink("up", ".")], [Item("up/.wh..wh..opq")])),
    ),
    "image: a whiteout with content": ("BAD_NAME", lambda: with_whiteout(Item(".wh.app.py", b"x"))),
    "image: a whiteout as a directory": ("BAD_NAME", lambda: with_whiteout(Item(".wh.a/evil", b"x"))),
    "image: a link put under a later layer": (
        "CONFLICT",
        lambda: layout(image([APP, symlink("lib", "../../../etc")], [Item("lib/passwd", b"x")])),
    ),
    "image: a layer of another digest": (
        "DIGEST",
        lambda: with_layer(lambda _: gzip.compress(tar_bytes([Item("e", b"")]))),
    ),
    "image: a layer that a byte was added to": ("CORRUPT", lambda: with_layer(lambda layer: layer + b"x")),
    "image: a layer cut off": ("CORRUPT", lambda: with_layer(lambda layer: layer[:-9])),
    "image: a layer with other bytes of docker": (
        "DIGEST",
        lambda: with_docker_layer(lambda layer: layer.replace(b"handler", b"hacker1")),
    ),
    "image: a layer that is no tar": ("CORRUPT", lambda: with_layer(lambda _: zstandard.compress(b"x" * 5000))),
    "image: a layer that is missing": (
        "CORRUPT",
        lambda: tar_of({n: d for n, d in layout_files(image([APP])).items() if not d.startswith(b"\x1f\x8b")}),
    ),
    "image: an encrypted layer": (
        "ENCRYPTED",
        lambda: layout(image([APP], descriptor={"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"})),
    ),
    "image: a layer somewhere else": ("UNSUPPORTED", lambda: layout(image([APP], descriptor={"urls": ["x://y"]}))),
    "image: layers that swell together": ("RATIO", layers_that_swell),
    "image: a digest that is a path": (
        "UNSUPPORTED",
        lambda: with_index(lambda index: index["manifests"][0].update(digest="sha256:../../../etc/passwd")),
    ),
    "image: several images": ("UNSUPPORTED", index_of_itself),
    "image: for another processor": ("UNSUPPORTED", of_arm),
    "image: a description that is no JSON": (
        "CORRUPT",
        lambda: tar_of({**layout_files(image([APP])), "index.json": b"[" * 100_000}),
    ),
    "image: a working directory outside": (
        "EMPTY",
        lambda: layout(ImageParts([tar_bytes([APP])], working_directory="../../etc")),
    ),
    "image: a blob outside": ("OUTSIDE", lambda: with_outer(Item("blobs/../../evil", b"x"))),
    "image: a blob that is a link out": ("LINK", lambda: with_outer(symlink("layer", "/etc/passwd"))),
    "image: a blob twice": ("DUPLICATE", lambda: with_outer(Item("index.json", b"{}"))),
    "image: none": ("UNKNOWN_FORMAT", lambda: tar_bytes([APP])),
    "neither of them": ("UNKNOWN_FORMAT", lambda: b"\x7fELF" + bytes(600)),
}
MAKERS: dict[str, Callable[..., bytes]] = {
    "zip": lambda *items: zip_bytes(items),
    "tar.gz": lambda *items: tar_gz_bytes(items),
    "image": of_image,
}
HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{
        f"{packed}: {name}": (rule, lambda make=make, items=items: make(*items))
        for packed, make in MAKERS.items()
        for name, (rule, items) in IN_ALL.items()
    },
    **OF_ONE_FORMAT,
}


@pytest.fixture(scope="module")
def directory_of_codestore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codestore")


@pytest.fixture
async def world(directory_of_codestore: Path) -> AsyncGenerator[World]:
    """A codestore on a directory."""
    database = f"sqlite+aiosqlite:///{directory_of_codestore}/codestore.db"
    async with running_world(settings_of(directory_of_codestore, database)) as running:
        yield running


def left_in(directory: Path) -> set[Path]:
    """All files below a directory but those of the database."""
    return {path for path in directory.rglob("*") if path.is_file() and "codestore.db" not in path.name}


async def refused(world: World, directory: Path, data: bytes, rule: str) -> None:
    error = await failure_of(world.upload(data))
    assert (error.kind, error.reason, error.metadata["rule"]) == (
        ErrorKind.INVALID_ARGUMENT,
        "ARTIFACT_UNSAFE",
        rule,
    ), error.message
    assert error.message.startswith("chunk: ")
    assert error.message.isprintable()
    assert (await failure_of(world.artifact(sha256(data)))).reason == "ARTIFACT_NOT_FOUND"
    assert left_in(directory) == set()


def test_there_are_at_least_40_of_them_in_every_format() -> None:
    assert len(HOSTILE) >= 40
    assert {name.partition(":")[0] for name in HOSTILE} >= set(MAKERS)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_archive_is_refused_and_leaves_no_trace(
    world: World, directory_of_codestore: Path, name: str
) -> None:
    rule, make = HOSTILE[name]
    await refused(world, directory_of_codestore, make(), rule)


def cuts(data: bytes, marks: list[bytes]) -> Iterator[bytes]:
    """An archive cut off within each of its headers, and before each."""
    for mark in marks:
        position = data.find(mark)
        while position >= 0:
            for end in (position, position + len(mark) // 2, position + len(mark)):
                if end > 4:
                    yield data[:end]
            position = data.find(mark, position + 1)


ITEMS = [APP, directory("lib"), Item("lib/x", bytes(range(256)) * 9), symlink("link", "app.py")]
TRUNCATED: dict[str, list[bytes]] = {
    "zip": list(cuts(zip_bytes(ITEMS), [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"])),
    "tar.gz": [gzip.compress(cut) for cut in cuts(tar_bytes(ITEMS), [b"ustar"])],
    "image": [cut for made in (layout, docker) for cut in cuts(made(image(ITEMS)), [b"ustar"]) if len(cut) >= 262],
    "image, its layer": [
        layout(ImageParts([cut], compression=packed))
        for cut in cuts(tar_bytes(ITEMS), [b"ustar"])
        for packed in ("", "+zstd")
    ],
}


@pytest.mark.parametrize("packed", TRUNCATED)
async def test_an_archive_cut_off_at_any_header_is_refused(
    world: World, directory_of_codestore: Path, packed: str
) -> None:
    assert TRUNCATED[packed]
    for data in TRUNCATED[packed]:
        await refused(world, directory_of_codestore, data, "CORRUPT")


async def test_the_same_without_the_harm_is_taken(world: World) -> None:
    for make in MAKERS.values():
        assert (await world.upload(make(*ITEMS))).artifact.file_count == 3
