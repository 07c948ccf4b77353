"""Each rule, in both formats: what is refused, why, and that nothing of it is left."""

from pathlib import Path

import pytest
from stoker_artifacts import Limits, Reason, UnsafeArchive, inspect, unpack

from tests.artifacts.archives import (
    MAKERS,
    Item,
    Type,
    directory,
    hard_link,
    symlink,
    tar_gz_bytes,
    write,
)

CODE = Item("app.py", b"def handler(event, context): return event\n")
SMALL = Limits(
    unpacked_bytes=4000, entries=5, ratio=10, ratio_free_bytes=2000, path_bytes=100, name_bytes=20, all_paths_bytes=150
)

IN_BOTH: dict[str, tuple[list[Item], Reason]] = {
    "traversal": ([Item("../evil", b"x")], Reason.OUTSIDE),
    "traversal in the middle": ([Item("a/../../evil", b"x")], Reason.OUTSIDE),
    "traversal that comes back": ([Item("a/../app.py", b"x")], Reason.OUTSIDE),
    "traversal by a directory": ([CODE, directory("..")], Reason.OUTSIDE),
    "absolute path": ([Item("/etc/cron.d/evil", b"x")], Reason.OUTSIDE),
    "absolute directory": ([CODE, directory("/tmp")], Reason.OUTSIDE),  # noqa: S108 - only a name
    "backslash": ([Item("..\\evil", b"x")], Reason.BAD_NAME),
    "control character": ([Item("a\nb", b"x")], Reason.BAD_NAME),
    "long name": ([Item("n" * 256, b"x")], Reason.BAD_NAME),
    "long path": ([Item("/".join(["p" * 100] * 11), b"x")], Reason.BAD_NAME),
    "no name": ([Item("./.", b"x")], Reason.BAD_NAME),
    "link named as a directory": ([CODE, Item("a", b"x"), symlink("b/", "a")], Reason.BAD_NAME),
    "absolute link": ([symlink("link", "/etc/passwd")], Reason.LINK),
    "link out of the root": ([symlink("link", "..")], Reason.LINK),
    "link out of a directory": ([symlink("a/b/link", "../../../etc")], Reason.LINK),
    "link out by way of another": ([symlink("a/up", ".."), symlink("out", "a/up/..")], Reason.LINK),
    "link without target": ([CODE, symlink("link", "")], Reason.LINK),
    "long link": ([CODE, symlink("link", "t/" * 600)], Reason.BAD_NAME),
    "file through a link": ([symlink("link", "a"), Item("link/evil", b"x")], Reason.CONFLICT),
    "link over a directory": ([Item("a/b", b"x"), symlink("a", "c")], Reason.CONFLICT),
    "file over a directory": ([Item("a/b", b"x"), Item("a", b"x")], Reason.CONFLICT),
    "directory over a file": ([Item("a", b"x"), directory("a")], Reason.CONFLICT),
    "file below a file": ([Item("a", b"x"), Item("a/b", b"x")], Reason.CONFLICT),
    "same file twice": ([CODE, CODE], Reason.DUPLICATE),
    "same file by two paths": ([Item("a/b", b"x"), Item("./a//b", b"x")], Reason.DUPLICATE),
    "same directory twice": ([CODE, directory("a"), directory("a")], Reason.DUPLICATE),
    "file and link": ([CODE, symlink("app.py", "a")], Reason.DUPLICATE),
    "pipe": ([CODE, Item("pipe", type=Type.FIFO)], Reason.SPECIAL_FILE),
    "device": ([CODE, Item("null", type=Type.DEVICE)], Reason.SPECIAL_FILE),
    "nothing": ([], Reason.EMPTY),
    "only a directory": ([directory("a")], Reason.EMPTY),
    "bomb": ([Item("zeros", bytes(17 * 1024 * 1024))], Reason.RATIO),
}


def refusal_of(path: Path, limits: Limits = Limits()) -> UnsafeArchive:  # noqa: B008 - it is frozen
    """Why `inspect` and `unpack` refuse an archive: for the same reason, leaving nothing."""
    with pytest.raises(UnsafeArchive) as by_inspect:
        inspect(path, limits)
    target = path.with_name("unpacked")
    with pytest.raises(UnsafeArchive) as by_unpack:
        unpack(path, target, limits)
    assert not target.exists()
    assert (by_inspect.value.reason, by_inspect.value.message) == (by_unpack.value.reason, by_unpack.value.message)
    return by_inspect.value


@pytest.mark.parametrize("name", IN_BOTH)
@pytest.mark.parametrize("packed", MAKERS)
def test_what_is_unsafe_is_refused_and_nothing_of_it_stays(tmp_path: Path, packed: str, name: str) -> None:
    items, reason = IN_BOTH[name]
    refusal = refusal_of(write(tmp_path / "archive", MAKERS[packed](items)))
    assert refusal.reason is reason
    assert set(tmp_path.iterdir()) == {tmp_path / "archive"}


@pytest.mark.parametrize("packed", MAKERS)
def test_a_refusal_names_the_entry_and_says_what_to_do(tmp_path: Path, packed: str) -> None:
    refusal = refusal_of(write(tmp_path / "archive", MAKERS[packed]([CODE, Item("../evil", b"x")])))
    assert refusal.message == "`../evil`: the path has `..`; pack the directory from inside"


@pytest.mark.parametrize("packed", MAKERS)
def test_a_refusal_shows_no_more_of_a_name_than_is_good_for_a_terminal(tmp_path: Path, packed: str) -> None:
    refusal = refusal_of(write(tmp_path / "archive", MAKERS[packed]([Item("\x1b[31m" + "é" * 200, b"x")])))
    assert refusal.message.startswith("`\\x1b[31m")
    assert refusal.message.isprintable()
    assert len(refusal.message) < 250


@pytest.mark.parametrize("packed", MAKERS)
@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([Item(f"{number}", b"x") for number in range(6)], Reason.TOO_MANY_ENTRIES),
        # Directories that are only named in a path count too, or a few entries could make millions.
        ([Item("a/b/c/d/e/f", b"x")], Reason.TOO_MANY_ENTRIES),
        ([Item("a", b"ab" * 900), Item("b", b"ab" * 900)], Reason.RATIO),
        ([Item("n" * 21, b"x")], Reason.BAD_NAME),
        ([Item(f"{'p' * 20}/{'q' * 20}/{number}", b"x") for number in range(3)], Reason.BAD_NAME),
    ],
)
def test_each_limit_holds(tmp_path: Path, packed: str, items: list[Item], reason: Reason) -> None:
    assert refusal_of(write(tmp_path / "archive", MAKERS[packed](items)), SMALL).reason is reason


@pytest.mark.parametrize("packed", MAKERS)
def test_the_size_of_all_files_together_is_limited(tmp_path: Path, packed: str) -> None:
    archive = write(tmp_path / "archive", MAKERS[packed]([Item("a", bytes(range(250)) * 10), Item("b", bytes(1501))]))
    assert refusal_of(archive, Limits(unpacked_bytes=4000)).reason is Reason.TOO_LARGE
    assert inspect(archive, Limits(unpacked_bytes=4001)).unpacked_size_bytes == 4001


@pytest.mark.parametrize("packed", MAKERS)
def test_exactly_as_many_entries_as_allowed_are_taken(tmp_path: Path, packed: str) -> None:
    items = [directory("."), Item("a/b", b"x"), Item("c/d", b"x"), Item("e", b"x")]
    archive = write(tmp_path / "archive", MAKERS[packed](items))
    assert inspect(archive, SMALL).file_count == 3


@pytest.mark.parametrize("target", ["missing", "a/up", "..", "../app.py", "/app.py", "self"])
def test_a_hard_link_must_lead_to_an_earlier_file(tmp_path: Path, target: str) -> None:
    items = [CODE, symlink("a/up", "../app.py"), hard_link("self", target)]
    refusal = refusal_of(write(tmp_path / "archive", tar_gz_bytes(items)))
    assert refusal.reason in (Reason.LINK, Reason.OUTSIDE)
