"""What holds for any archive."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stoker_artifacts import UnsafeArchive, inspect, unpack

from tests.artifacts.archives import MAKERS, Item, directory, symlink, write

# Few and short names, so that they meet, and those with which mischief is made.
PARTS = st.sampled_from(["a", "b", "c", ".", "..", "", "ü"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
FILES = st.builds(Item, PATHS.filter(lambda path: not path.endswith("/")), st.binary(max_size=50))
ITEMS = st.lists(
    st.one_of(FILES, PATHS.filter(bool).map(directory), st.builds(symlink, PATHS.filter(bool), PATHS)), max_size=6
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CODE = [Item("app.py", b"print()" * 20), directory("lib"), Item("lib/x", bytes(range(256))), symlink("l", "lib/x")]


@QUICK
@given(items=ITEMS, packed=st.sampled_from(sorted(MAKERS)))
def test_nothing_ever_lands_or_leads_outside(items: list[Item], packed: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "root")
        root.mkdir()
        archive = write(root / "archive", MAKERS[packed](items))
        out = root / "out"
        try:
            contents = unpack(archive, out)
        except UnsafeArchive:
            assert sorted(root.iterdir()) == [archive]
            with pytest.raises(UnsafeArchive):
                inspect(archive)
            return
        assert inspect(archive) == contents
        assert sorted(root.iterdir()) == [archive, out]
        assert sorted(Path(temporary).iterdir()) == [root]
        for path in out.rglob("*"):
            resolved = path.resolve(strict=False) if not is_loop(path) else out
            assert resolved == out or out in resolved.parents


def is_loop(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@QUICK
@given(
    tree=st.dictionaries(
        st.lists(
            st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\."), min_size=1, max_size=8),
            min_size=1,
            max_size=3,
        ).map(tuple),
        st.tuples(st.binary(max_size=2000), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    packed=st.sampled_from(sorted(MAKERS)),
)
def test_a_good_tree_comes_back_as_it_was(tree: dict[tuple[str, ...], tuple[bytes, bool]], packed: str) -> None:
    # No file below a file.
    files = {path: value for path, value in tree.items() if not any(path[:end] in tree for end in range(1, len(path)))}
    items = [Item("/".join(path), data, mode=0o755 if run else 0o644) for path, (data, run) in files.items()]
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "out")
        contents = unpack(write(Path(temporary, "archive"), MAKERS[packed](items)), out)
        assert contents.file_count == len(files)
        for path, (data, run) in files.items():
            unpacked = out.joinpath(*path)
            assert unpacked.read_bytes() == data
            assert unpacked.stat().st_mode & 0o777 == (0o755 if run else 0o644)


@QUICK
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 4), packed=st.sampled_from(sorted(MAKERS)))
def test_damage_is_refused_or_harmless_but_never_a_crash(seed: int, flips: int, packed: str) -> None:
    data = bytearray(MAKERS[packed](CODE))
    chance = random.Random(seed)  # noqa: S311 - it chooses which bytes to damage
    for _ in range(flips):
        data[chance.randrange(len(data))] = chance.randrange(256)
    with tempfile.TemporaryDirectory() as temporary:
        archive = write(Path(temporary, "archive"), bytes(data))
        try:
            inspect(archive)
        except UnsafeArchive:
            return
        unpack(archive, Path(temporary, "out"))
        assert {path.name for path in Path(temporary).iterdir()} == {"archive", "out"}


@QUICK
@given(st.binary(max_size=600))
def test_any_bytes_are_refused_or_read_but_never_a_crash(data: bytes) -> None:
    for magic in (b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08"):
        with tempfile.TemporaryDirectory() as temporary:
            archive = write(Path(temporary, "archive"), magic + data)
            with pytest.raises(UnsafeArchive):
                inspect(archive)
