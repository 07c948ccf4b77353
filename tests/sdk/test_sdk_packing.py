"""Directories as artifacts."""

import gzip
import os
import random
import re
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker.errors import PackingError
from stoker.packing import MAX_BYTES, packed


def names_in(directory: Path) -> list[str]:
    with packed(directory) as code, tarfile.open(code.file) as archive:
        return archive.getnames()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    digests: set[str] = set()
    files = [f"{letter}/{letter}.py" for letter in "abc"]
    for number, mode in ((1, 0o600), (2, 0o666)):
        directory = tmp_path / str(number)
        for name in random.Random(number).sample(files, 3):  # noqa: S311 - an order, not a secret
            (directory / name).parent.mkdir(parents=True)
            (directory / name).write_text(name)
            (directory / name).chmod(mode)
            os.utime(directory / name, (number, number))
        with packed(directory) as code:
            digests.add(code.sha256)
    assert len(digests) == 1


def test_a_programs_mode_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o700)
    with packed(tmp_path) as code, tarfile.open(code.file) as archive:
        assert archive.getmember("run").mode == 0o755


def test_what_is_ignored_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".stokerignore").write_text("*.md\n!README.md\n# a comment\n/build/\nnode_modules/\n")
    for name in (
        "main.py",
        "notes.md",
        "README.md",
        "build/out",
        "src/build/kept",
        "src/node_modules/x",
        ".git/HEAD",
        "src/__pycache__/main.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names_in(tmp_path) == ["README.md", "main.py", "src/build/kept"]


@given(st.text(alphabet="a*?[]!/\\ .", max_size=12))
def test_any_pattern_is_taken_or_refused_by_the_files_name(pattern: str) -> None:
    with TemporaryDirectory() as directory:
        (Path(directory) / "kept").mkdir()
        (Path(directory) / "kept" / "main.py").touch()
        (Path(directory) / ".stokerignore").write_text(pattern)
        assert outcome_of_packing(Path(directory)) in (["kept/main.py"], "IGNORE_FILE_INVALID", "NOTHING_TO_PACK")


def outcome_of_packing(directory: Path) -> list[str] | str:
    try:
        return names_in(directory)
    except PackingError as refused:
        return refused.reason


def test_a_line_that_is_no_pattern_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    (tmp_path / ".stokerignore").write_text("*.md\n!\n")
    with pytest.raises(PackingError, match=r"\.stokerignore: .*'!'") as refused, packed(tmp_path):
        raise AssertionError("it was packed")
    assert refused.value.reason == "IGNORE_FILE_INVALID"


def test_a_link_within_the_directory_is_kept(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").touch()
    (tmp_path / "b.py").symlink_to("lib/a.py")
    with packed(tmp_path) as code, tarfile.open(code.file) as archive:
        assert archive.getmember("b.py").linkname == "lib/a.py"


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "lib/../../secret"])
def test_a_link_that_leaves_the_directory_is_refused(tmp_path: Path, target: str) -> None:
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "link").symlink_to(target)
    with pytest.raises(PackingError, match=re.escape(f"leads to {target}")), packed(directory):
        pass


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PackingError, match="device, socket or pipe"), packed(tmp_path):
        pass


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackingError, match="holds no files"), packed(tmp_path):
        pass


def test_an_archive_is_taken_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "code.tgz"
    archive.write_bytes(gzip.compress(b"anything"))
    with packed(archive) as code:
        assert code.file == archive


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "main.py"
    file.write_text("def handler(): ...")
    with pytest.raises(PackingError, match="neither a directory, nor a zip"), packed(file):
        pass


def test_what_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    archive = tmp_path / "code.zip"
    with archive.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PackingError, match=r"256 are allowed"), packed(archive):
        pass
