"""What unpacking leaves on the disk."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from stoker_artifacts import Contents, Format, inspect, unpack

from tests.artifacts.archives import MAKERS, Item, directory, hard_link, symlink, tar_gz_bytes, write

TREE = [
    directory("."),
    Item("app.py", b"code"),
    directory("bin", 0o700),
    Item("bin/tool", b"#!/bin/sh\n", mode=0o4711),
    Item("lib/deep/er/data", b"d" * 100_000, mode=0o000),
    symlink("lib/deep/tool", "../../bin/tool"),
    symlink("dangling", "not/there"),
    symlink("here", "."),
    Item("leer", b""),
    Item("ünïcode/名", b"x"),
]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("packed", MAKERS)
def test_files_are_as_they_were_packed(tmp_path: Path, packed: str) -> None:
    archive = write(tmp_path / "archive", MAKERS[packed](TREE))
    contents = unpack(archive, tmp_path / "out")
    assert contents == inspect(archive) == Contents(Format(packed), 4 + 10 + 100_000 + 1, 8)
    out = tmp_path / "out"
    assert (out / "app.py").read_bytes() == b"code"
    assert (out / "lib/deep/er/data").read_bytes() == b"d" * 100_000
    assert (out / "lib/deep/tool").readlink() == Path("../../bin/tool")
    assert (out / "lib/deep/tool").read_bytes() == b"#!/bin/sh\n"
    assert (out / "dangling").readlink() == Path("not/there")
    assert (out / "leer").read_bytes() == b""
    assert (out / "ünïcode/名").read_bytes() == b"x"


@pytest.mark.parametrize("packed", MAKERS)
def test_modes_and_times_depend_on_nothing_but_what_is_executable(tmp_path: Path, packed: str) -> None:
    before = os.umask(0o077)
    try:
        unpack(write(tmp_path / "archive", MAKERS[packed](TREE)), tmp_path / "out")
    finally:
        os.umask(before)
    out = tmp_path / "out"
    assert mode_of(out / "app.py") == mode_of(out / "lib/deep/er/data") == 0o644
    assert mode_of(out / "bin/tool") == 0o755
    assert {mode_of(path) for path in [out, *out.rglob("*")] if path.is_dir() and not path.is_symlink()} == {0o755}
    assert {path.lstat().st_mtime for path in [out, *out.rglob("*")]} == {315_532_800}


@pytest.mark.parametrize("packed", MAKERS)
def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path, packed: str) -> None:
    archive = write(tmp_path / "archive", MAKERS[packed](TREE))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(FileExistsError):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/mine"]


def test_a_hard_link_is_the_file_it_leads_to(tmp_path: Path) -> None:
    items = [Item("a/tool", b"data", mode=0o755), hard_link("b", "./a/tool"), hard_link("c", "b")]
    contents = unpack(write(tmp_path / "archive", tar_gz_bytes(items)), tmp_path / "out")
    assert (contents.unpacked_size_bytes, contents.file_count) == (4, 3)
    assert (tmp_path / "out/c").samefile(tmp_path / "out/a/tool")


@pytest.mark.parametrize("packed", MAKERS)
def test_a_full_disk_leaves_nothing(tmp_path: Path, packed: str) -> None:
    # A limit on file sizes fails a write as a full disk does.
    archive = write(tmp_path / "archive", MAKERS[packed](TREE))
    script = (
        "import resource, signal, sys; from pathlib import Path; from stoker_artifacts import unpack\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: unpack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, archive, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ran.stdout == "File too large\n"
    assert not (tmp_path / "out").exists()
