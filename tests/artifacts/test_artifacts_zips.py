"""Zips that are damaged, hostile, or made by other tools than Python's."""

import io
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest
from stoker_artifacts import Limits, Reason, UnsafeArchive, inspect, unpack

from tests.artifacts.archives import Item, Type, symlink, write, zip_bytes

CODE = Item("app.py", b"def handler(event, context): return event\n" * 3)
GOOD = zip_bytes([CODE])
CENTRAL = GOOD.index(b"PK\x01\x02")
END = GOOD.index(b"PK\x05\x06")


def patched(offset: int, value: bytes) -> bytes:
    return GOOD[:offset] + value + GOOD[offset + len(value) :]


def refusal(tmp_path: Path, data: bytes) -> Reason:
    with pytest.raises(UnsafeArchive) as caught:
        inspect(write(tmp_path / "archive", data))
    return caught.value.reason


CORRUPT = {
    "a flipped bit in the data": patched(CENTRAL - 5, bytes([GOOD[CENTRAL - 5] ^ 1])),
    "a wrong checksum": patched(CENTRAL + 16, b"\0\0\0\0"),
    "a smaller size than unpacks": patched(CENTRAL + 24, struct.pack("<L", 3)),
    "a larger size than unpacks": patched(CENTRAL + 24, struct.pack("<L", 4000)),
    "a packed size behind the end": patched(CENTRAL + 20, struct.pack("<L", 4000)),
    "an offset behind the end": patched(CENTRAL + 42, struct.pack("<L", 2**31)),
    "an offset to something else": patched(CENTRAL + 42, struct.pack("<L", 4)),
    "another name in the directory": patched(CENTRAL + 46, b"b"),
    "another method in the directory": patched(CENTRAL + 10, b"\0\0"),
    "more entries than there are": patched(END + 8, struct.pack("<HH", 2, 2)),
    "fewer entries than there are": patched(END + 8, struct.pack("<HH", 0, 0)),
    "a directory elsewhere": patched(END + 16, struct.pack("<L", 1)),
    "data before its beginning": b"PK\x03\x04" + GOOD,
    "data after its end": GOOD + b"x",
    "its end missing": GOOD[:-1],
    "only its first half": GOOD[: len(GOOD) // 2],
    "only its first bytes": GOOD[:4],
    "a 64-bit size that is missing": patched(CENTRAL + 24, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("what", CORRUPT)
def test_a_damaged_zip_is_refused(tmp_path: Path, what: str) -> None:
    assert refusal(tmp_path, CORRUPT[what]) is Reason.CORRUPT


def test_a_zip_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    for size in range(4, len(GOOD)):
        assert refusal(tmp_path, GOOD[:size]) is Reason.CORRUPT


@pytest.mark.parametrize("flag", [0x0001, 0x0040, 0x2000])
def test_an_encrypted_zip_is_refused(tmp_path: Path, flag: int) -> None:
    assert refusal(tmp_path, patched(CENTRAL + 8, struct.pack("<H", flag))) is Reason.ENCRYPTED


def test_a_zip_encrypted_by_winzip_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, patched(CENTRAL + 10, struct.pack("<H", 99))) is Reason.ENCRYPTED


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_rare_compression_is_refused(tmp_path: Path, method: int) -> None:
    assert refusal(tmp_path, zip_bytes([CODE], method)) is Reason.UNSUPPORTED


def test_a_split_zip_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, patched(END + 4, b"\1\0")) is Reason.UNSUPPORTED


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD.replace(b"app.py", b"app\xff\xfey")) is Reason.BAD_NAME


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD.replace(b"app.py", b"app\0py")) is Reason.BAD_NAME


def test_a_socket_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, zip_bytes([CODE, Item("socket", type=Type.SOCKET)])) is Reason.SPECIAL_FILE


def test_a_directory_by_mode_alone_is_refused(tmp_path: Path) -> None:
    data = zip_bytes([CODE, Item("dir", type=Type.DIRECTORY)]).replace(b"dir/", b"dirx")
    assert refusal(tmp_path, data) is Reason.CORRUPT


def test_a_link_with_a_target_of_megabytes_is_refused_unread(tmp_path: Path) -> None:
    assert refusal(tmp_path, zip_bytes([CODE, symlink("link", "t" * 5_000_000)])) is Reason.BAD_NAME


def test_overlapping_entries_are_bounded_as_any_other(tmp_path: Path) -> None:
    # Many entries that share one lump of data, the better kind of zip bomb. Each has the lump's name, so the second is
    # one too many already.
    bomb = GOOD[:CENTRAL] + GOOD[CENTRAL:END] * 3
    end = bytearray(GOOD[END:])
    struct.pack_into("<HHL", end, 8, 3, 3, (END - CENTRAL) * 3)
    assert refusal(tmp_path, bomb + bytes(end)) is Reason.DUPLICATE


def test_more_entries_than_allowed_are_refused_before_they_are_read(tmp_path: Path) -> None:
    end = bytearray(GOOD[END:])
    struct.pack_into("<HH", end, 8, 60_000, 60_000)
    archive = write(tmp_path / "archive", GOOD[:END] + bytes(end))
    with pytest.raises(UnsafeArchive) as caught:
        inspect(archive, Limits(entries=50_000))
    assert caught.value.reason is Reason.TOO_MANY_ENTRIES


def test_a_zip_with_64_bit_fields_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("app.py", "w", force_zip64=True) as file:
        file.write(CODE.data)
    assert inspect(write(tmp_path / "archive", buffer.getvalue())).unpacked_size_bytes == len(CODE.data)


def test_a_zip_with_a_64_bit_end_record_is_read(tmp_path: Path) -> None:
    # As of an archive with more than 65,535 entries: the fields of the short end record are all ones.
    long = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, END - CENTRAL, CENTRAL)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, END, 1)
    short = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert inspect(write(tmp_path / "archive", GOOD[:END] + long + locator + short)).file_count == 1
    assert refusal(tmp_path, GOOD[:END] + bytes(56) + locator + short) is Reason.CORRUPT
    assert refusal(tmp_path, GOOD[:END] + long + locator[:8] + b"\xff" * 8 + locator[16:] + short) is Reason.CORRUPT


def test_a_zip_that_was_streamed_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """Cannot seek, so sizes and checksum come after the data."""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            piece = bytes(data)  # pyright: ignore[reportArgumentType] - a buffer
            written.append(piece)
            return len(piece)

    written: list[bytes] = []
    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:  # pyright: ignore[reportArgumentType] - it is a file
        archive.writestr("app.py", CODE.data)
    assert inspect(write(tmp_path / "archive", b"".join(written))).unpacked_size_bytes == len(CODE.data)


def test_a_zip_with_a_comment_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"made by hand"
    assert inspect(write(tmp_path / "archive", buffer.getvalue())).file_count == 1


def test_a_file_packed_on_windows_is_not_executable(tmp_path: Path) -> None:
    data = bytearray(GOOD)
    data[CENTRAL + 5] = 0
    data[CENTRAL + 38 : CENTRAL + 42] = b"\x20\0\0\0"
    unpack(write(tmp_path / "archive", bytes(data)), tmp_path / "out")
    assert (tmp_path / "out/app.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP is not installed")
def test_a_zip_of_info_zip_is_read(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/app.py").write_bytes(CODE.data)
    (tmp_path / "code/link").symlink_to("app.py")
    subprocess.run(["zip", "-qry", tmp_path / "archive", "."], cwd=tmp_path / "code", check=True, timeout=30)
    unpack(tmp_path / "archive.zip", tmp_path / "out")
    assert (tmp_path / "out/link").read_bytes() == CODE.data
