"""A tree becomes a manifest and chunks, and the same tree again."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stoker_artifacts import (
    ChangedTree,
    Chunk,
    CorruptChunk,
    CorruptManifest,
    Kind,
    Manifest,
    Reason,
    UnsafeArchive,
    assemble,
    check,
    chunk_of,
    fingerprint,
    manifest_of,
    pack_chunk,
    pack_manifest,
    unpack,
    unpack_chunk,
    unpack_manifest,
)

from tests.artifacts.archives import MAKERS, Item, directory, hard_link, symlink, tar_gz_bytes, write

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\."), min_size=1, max_size=8)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.integers(0, 300_000), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=6,
).map(lambda tree: {path: value for path, value in tree.items() if not any(f"{path}/" in other for other in tree)})
CODE = [
    Item("app.py", b"print()" * 2000),
    directory("lib"),
    Item("lib/x", random.Random(1).randbytes(400_000), mode=0o755),  # noqa: S311 - bytes that do not shrink
    Item("lib/empty", b""),
    hard_link("lib/y", "lib/x"),
    symlink("l", "lib/x"),
]


class Chunks(dict[Chunk, bytes]):
    """Chunks, as a store keeps them."""

    def take(self, chunk: Chunk, data: memoryview) -> None:
        self[chunk] = pack_chunk(data)

    def read(self, chunk: Chunk) -> bytes:
        return self[chunk]


def content(size_bytes: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)  # noqa: S311 - bytes that do not shrink


def as_it_is(root: Path) -> dict[str, tuple[int, int, bytes | str]]:
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        what = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_nlink, what)
    return found


@QUICK
@given(tree=TREES, packed=st.sampled_from(sorted(MAKERS)), order=st.randoms(use_true_random=False))
def test_an_assembled_tree_is_what_unpacking_makes(
    tree: dict[str, tuple[int, int, bool]], packed: str, order: random.Random
) -> None:
    items = [
        Item(path, content(size_bytes, seed), mode=0o755 if run else 0o644)
        for path, (size_bytes, seed, run) in tree.items()
    ]
    shuffled = order.sample(items, len(items))
    with tempfile.TemporaryDirectory() as temporary:
        root, chunks = Path(temporary), Chunks()
        archive = write(root / "archive", MAKERS[packed](items))
        unpack(archive, root / "unpacked")

        manifest = manifest_of(archive, root / "scratch", chunks.take)
        carried = pack_manifest(manifest)
        assemble(unpack_manifest(carried.sha256, carried.data), chunks.read, root / "assembled")

        assert as_it_is(root / "assembled") == as_it_is(root / "unpacked")
        check(manifest, root / "assembled")
        assert manifest_of(root / "unpacked", root / "scratch") == manifest
        other = write(root / "other", tar_gz_bytes(shuffled))
        assert manifest_of(other, root / "scratch") == manifest, "how it was packed should leave no trace"
        assert not (root / "scratch").exists()


def test_links_and_empty_files_come_back(tmp_path: Path) -> None:
    archive, chunks = write(tmp_path / "archive", tar_gz_bytes(CODE)), Chunks()
    unpack(archive, tmp_path / "unpacked")

    manifest = manifest_of(archive, tmp_path / "scratch", chunks.take)
    assemble(manifest, chunks.read, tmp_path / "assembled")

    assert as_it_is(tmp_path / "assembled") == as_it_is(tmp_path / "unpacked")
    assert (manifest.file_count, manifest.unpacked_size_bytes) == (5, 414_000)
    assert [entry.name for entry in manifest.entries] == ["app.py", "l", "lib", "lib/empty", "lib/x", "lib/y"]
    assert manifest.entries[-1].kind is Kind.HARD_LINK


def test_a_change_of_one_file_changes_few_chunks(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(200):
        write(tree_file(tree, number), content(20_000, number))
    before = set(manifest_of(tree, tmp_path / "scratch").chunks)

    write(tree_file(tree, 100), content(21_000, 1000))
    after = set(manifest_of(tree, tmp_path / "scratch").chunks)

    new_bytes = sum(chunk.size_bytes for chunk in after - before)
    assert len(before) > 30
    assert 21_000 <= new_bytes <= 600_000


def tree_file(tree: Path, number: int) -> Path:
    path = tree / f"{number % 10}" / f"{number}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@QUICK
@given(seed=st.integers(0, 2**32), damage=st.integers(1, 4))
def test_a_damaged_chunk_is_noticed_and_leaves_no_tree(seed: int, damage: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - it chooses which bytes to damage
    with tempfile.TemporaryDirectory() as temporary:
        root, chunks = Path(temporary), Chunks()
        archive = write(root / "archive", tar_gz_bytes(CODE))
        manifest = manifest_of(archive, root / "scratch", chunks.take)
        victim = chance.choice(manifest.chunks)
        packed = bytearray(chunks[victim])
        for _ in range(damage):
            packed[chance.randrange(len(packed))] ^= chance.randrange(1, 256)
        chunks[victim] = bytes(packed)
        try:
            assemble(manifest, chunks.read, root / "assembled")
        except CorruptChunk:
            assert sorted(path.name for path in root.iterdir()) == ["archive"]
        else:
            # zstd has bits that say nothing.
            check(manifest, root / "assembled")


def test_a_chunk_is_never_unpacked_to_more_than_its_size() -> None:
    bomb = zstandard.compress(bytes(100_000_000))
    with pytest.raises(CorruptChunk, match="1000 bytes are expected"):
        unpack_chunk(Chunk("0" * 64, 1000), bomb)
    with pytest.raises(CorruptChunk):
        unpack_chunk(chunk_of(b"code"), pack_chunk(b"edoc"))
    with pytest.raises(CorruptChunk):
        unpack_chunk(chunk_of(b"code"), pack_chunk(b"code") + b"more")


def test_a_given_chunk_that_is_another_is_refused(tmp_path: Path) -> None:
    manifest = manifest_of(write(tmp_path / "archive", tar_gz_bytes(CODE)), tmp_path / "scratch")
    with pytest.raises(CorruptChunk):
        assemble(manifest, lambda chunk: pack_chunk(bytes(chunk.size_bytes)), tmp_path / "assembled")
    assert not (tmp_path / "assembled").exists()


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_are_no_manifest_but_never_a_crash(data: bytes) -> None:
    for packed in (data, zstandard.compress(data)):
        with pytest.raises(CorruptManifest):
            unpack_manifest(chunk_of(data).sha256, packed)


@pytest.mark.parametrize(
    "change",
    [
        {"form": 2},
        {"entries": [["f", "../app.py", 4]]},
        {"entries": [["f", "/app.py", 4]]},
        {"entries": [["f", "./app.py", 4]]},
        {"entries": [["f", "app.py", 5]]},
        {"entries": [["f", "app.py", -4]]},
        {"entries": [["f", "app.py", "4"]]},
        {"entries": [["f", "app.py", 4], ["f", "app.py", 0]]},
        {"entries": [["f", "app.py", 4], ["l", "l", "/etc/passwd"]]},
        {"entries": [["f", "app.py", 4], ["h", "h", "later"]]},
        {"entries": [["f", "app.py", 4], ["l", "l", "."], ["f", "l/x", 0]]},
        {"entries": [["c", "app.py", 4]]},
        {"entries": ["app.py"]},
        {"entries": None},
        {"chunks": []},
        {"chunks": [["../" + "0" * 61, 4]]},
        {"chunks": [["0" * 64, 4, 4]]},
        {"chunks": [["0" * 64, 1_000_000_000]]},
    ],
)
def test_a_manifest_that_no_archive_could_have_made_is_refused(change: dict[str, object]) -> None:
    form = {"form": 1, "entries": [["f", "app.py", 4]], "chunks": [["0" * 64, 4]]}
    encoded = json.dumps(form).encode()
    assert isinstance(unpack_manifest(chunk_of(encoded).sha256, zstandard.compress(encoded)), Manifest)

    encoded = json.dumps(form | change).encode()
    with pytest.raises(CorruptManifest):
        unpack_manifest(chunk_of(encoded).sha256, zstandard.compress(encoded))


def test_what_is_no_code_is_refused_in_a_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    with pytest.raises(UnsafeArchive) as refusal:
        manifest_of(tree, tmp_path / "scratch")
    assert refusal.value.reason is Reason.SPECIAL_FILE


def flip(path: Path) -> None:
    """Changes one byte, and hides it as well as can be."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def add(path: Path) -> None:
    path.with_name("more").write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def let_be_root(path: Path) -> None:
    path.chmod(0o4755)


def replace(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize("spoil", [flip, add, remove, let_be_root])
def test_a_changed_tree_is_noticed(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    archive, chunks = write(tmp_path / "archive", tar_gz_bytes(CODE)), Chunks()
    manifest = manifest_of(archive, tmp_path / "scratch", chunks.take)
    tree = tmp_path / "tree"
    assemble(manifest, chunks.read, tree)
    before = fingerprint(tree)
    (tree / "app.py").read_bytes()
    os.utime(tree)
    assert fingerprint(tree) == before, "reading, and using the tree as a whole, is no change"

    spoil(tree / "lib/x")

    assert fingerprint(tree) != before
    with pytest.raises(ChangedTree):
        check(manifest, tree)


def test_a_file_that_is_replaced_by_an_equal_one_is_another_but_no_change(tmp_path: Path) -> None:
    archive, chunks = write(tmp_path / "archive", tar_gz_bytes(CODE)), Chunks()
    manifest = manifest_of(archive, tmp_path / "scratch", chunks.take)
    tree = tmp_path / "tree"
    assemble(manifest, chunks.read, tree)
    before = fingerprint(tree)

    replace(tree / "app.py")

    assert fingerprint(tree) != before
    check(manifest, tree)
