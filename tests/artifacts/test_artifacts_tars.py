"""Tars that are damaged, hostile, or made by other tools than Python's."""

import gzip
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from stoker_artifacts import Limits, Reason, UnsafeArchive, inspect, unpack

from tests.artifacts.archives import Item, hard_link, symlink, tar_bytes, tar_gz_bytes, write

CODE = Item("app.py", b"def handler(event, context): return event\n" * 3)
GOOD = tar_gz_bytes([CODE])


def refusal(tmp_path: Path, data: bytes) -> Reason:
    with pytest.raises(UnsafeArchive) as caught:
        inspect(write(tmp_path / "archive", data))
    return caught.value.reason


def header(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.type = kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("pax", len(records), kind) + records + bytes(-len(records) % 512)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 2
    return f"{length:02d}".encode() + rest if length < 100 else f"{length + 1}".encode() + rest


FILE = tar_bytes([CODE], tarfile.USTAR_FORMAT)

CORRUPT = {
    "the gzip cut off": GOOD[:-1],
    "the gzip's checksum wrong": GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:],
    "data after the gzip": GOOD + b"x",
    "no gzip after its first bytes": b"\x1f\x8b" + b"x" * 50,
    "no tar inside": gzip.compress(b"x" * 1024),
    "less than a header inside": gzip.compress(b"x"),
    "nothing inside": gzip.compress(b""),
    "no end": gzip.compress(FILE[:1024]),
    "a file cut off": gzip.compress(FILE[:600]),
    "data after its end": gzip.compress(FILE + b"x"),
    "a checksum of a header wrong": gzip.compress(b"b" + FILE[1:]),
    "a directory with data": gzip.compress(header("d/", 5, tarfile.DIRTYPE) + b"x" * 512 + FILE),
    "a link with data": gzip.compress(FILE[:1024] + header("l", 5, tarfile.LNKTYPE) + b"x" * 512 + bytes(1024)),
    "a pax header that is none": gzip.compress(pax(b"hello") + FILE),
    "a pax header without value": gzip.compress(pax(b"5 abc") + FILE),
    "a pax header with a long length": gzip.compress(pax(b"9" * 5000 + b" a=b\n") + FILE),
    "a pax header with a negative size": gzip.compress(pax(record("size", "-5")) + FILE),
    "a pax header at its end": gzip.compress(FILE[:1024] + pax(record("path", "x")) + bytes(1024)),
}


@pytest.mark.parametrize("what", CORRUPT)
def test_a_damaged_tar_is_refused(tmp_path: Path, what: str) -> None:
    assert refusal(tmp_path, CORRUPT[what]) is Reason.CORRUPT


def test_a_tar_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    for size in range(2, len(GOOD)):
        assert refusal(tmp_path, GOOD[:size]) is Reason.CORRUPT


UNSUPPORTED = {
    "a sparse file": gzip.compress(header("s", 0, tarfile.GNUTYPE_SPARSE) + FILE),
    "a sparse file by pax": gzip.compress(pax(record("GNU.sparse.map", "0,1")) + FILE),
    "an unknown type": gzip.compress(header("v", 0, b"V") + FILE),
    "one name for all": gzip.compress(pax(record("path", "x"), tarfile.XGLTYPE) + FILE),
    "a long name of megabytes": gzip.compress(header("l", 2**24, tarfile.GNUTYPE_LONGNAME) + bytes(2**24) + FILE),
    "a pax header of megabytes": gzip.compress(header("x", 2**24, tarfile.XHDTYPE) + bytes(2**24) + FILE),
    "endless extended headers": gzip.compress(pax(record("comment", "x")) * 1000 + FILE),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_code_needs_not_is_refused(tmp_path: Path, what: str) -> None:
    assert refusal(tmp_path, UNSUPPORTED[what]) is Reason.UNSUPPORTED


def test_a_tar_that_is_not_gzipped_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, FILE) is Reason.UNKNOWN_FORMAT


@pytest.mark.parametrize("data", [b"", b"P", b"MZ hello", b"\x1f"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, data) is Reason.UNKNOWN_FORMAT


def test_a_file_that_says_it_is_huge_is_refused_unread(tmp_path: Path) -> None:
    assert refusal(tmp_path, gzip.compress(pax(record("size", str(2**60))) + FILE)) is Reason.TOO_LARGE


def test_zeros_without_end_are_refused(tmp_path: Path) -> None:
    # A gigabyte of them would be a megabyte packed.
    assert refusal(tmp_path, gzip.compress(FILE + bytes(2**21))) is Reason.CORRUPT


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    comment = pax(record("comment", "x" * 60))
    archive = write(tmp_path / "archive", gzip.compress((comment * 3 + FILE[:1024]) * 20 + bytes(1024)))
    with pytest.raises(UnsafeArchive) as caught:
        inspect(archive, Limits(unpacked_bytes=10_000, entries=5))
    assert caught.value.reason is Reason.DUPLICATE
    names = b"".join(comment * 4 + header(f"{number}", 0, tarfile.REGTYPE) for number in range(5))
    with pytest.raises(UnsafeArchive) as caught:
        inspect(write(tmp_path / "archive", gzip.compress(names + FILE)), Limits(unpacked_bytes=100, entries=5))
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("caf\udce9.py")
    data = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    assert refusal(tmp_path, gzip.compress(data + bytes(1024))) is Reason.BAD_NAME
    by_pax = b"17 path=caf\xe9.py\n"
    by_pax = f"{len(by_pax)}".encode() + by_pax[2:]
    assert refusal(tmp_path, gzip.compress(pax(by_pax) + FILE)) is Reason.BAD_NAME


def test_a_name_from_a_pax_header_is_checked_too(tmp_path: Path) -> None:
    assert refusal(tmp_path, gzip.compress(pax(record("path", "../evil")) + FILE)) is Reason.OUTSIDE


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_way_to_tar_is_read(tmp_path: Path, tar_format: int) -> None:
    long = "/".join(["directory"] * 9) + "/" + "n" * 60
    items = [CODE, Item(long, b"x"), symlink("link", long[:90]), hard_link("hard", "app.py")]
    unpack(write(tmp_path / "archive", gzip.compress(tar_bytes(items, tar_format))), tmp_path / "out")
    assert (tmp_path / "out" / long).read_bytes() == b"x"
    assert (tmp_path / "out/link").readlink() == Path(long[:90])
    assert (tmp_path / "out/hard").read_bytes() == CODE.data


def test_several_gzips_in_a_row_are_one(tmp_path: Path) -> None:
    middle = 700
    data = gzip.compress(FILE[:middle]) + gzip.compress(FILE[middle:])
    assert inspect(write(tmp_path / "archive", data)).file_count == 1


@pytest.mark.parametrize("tar_format", ["gnu", "pax", "ustar", "v7"])
def test_a_tar_of_gnu_tar_is_read(tmp_path: Path, tar_format: str) -> None:
    code = tmp_path / "code"
    (code / "sub").mkdir(parents=True)
    (code / "app.py").write_bytes(CODE.data)
    (code / "sub/link").symlink_to("../app.py")
    os.link(code / "app.py", code / "sub/hard")
    command = ["tar", f"--format={tar_format}", "-czf", tmp_path / "archive", "-C", code, "."]
    subprocess.run(command, check=True, timeout=30)
    contents = unpack(tmp_path / "archive", tmp_path / "out")
    assert (contents.file_count, contents.unpacked_size_bytes) == (3, len(CODE.data))
    assert (tmp_path / "out/sub/link").read_bytes() == (tmp_path / "out/sub/hard").read_bytes() == CODE.data
