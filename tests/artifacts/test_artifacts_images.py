"""Images: which part of them is code, and what their layers make together."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stoker_artifacts import Format, Reason, UnsafeArchive, inspect, unpack

from tests.artifacts.archives import Item, Type, directory, hard_link, symlink, tar_bytes, write
from tests.artifacts.images import (
    IMAGE_MAKERS,
    PACKERS,
    ImageParts,
    digest,
    docker_files,
    image,
    layout,
    layout_files,
    sha256,
    tar_of,
)

APP = Item("var/task/app.py", b"def handler(event, context): return event\n")


def tree_of(path: Path) -> dict[str, bytes | str | None]:
    """What is below a directory: a file's content, a link's target, None for a directory."""
    return {
        str(found.relative_to(path)): str(found.readlink())
        if found.is_symlink()
        else None
        if found.is_dir()
        else found.read_bytes()
        for found in sorted(path.rglob("*"))
    }


def unpacked(tmp_path: Path, parts: ImageParts) -> dict[str, bytes | str | None]:
    """What an image's code is, the same in whichever way it was saved."""
    trees: list[dict[str, bytes | str | None]] = []
    for name, make in IMAGE_MAKERS.items():
        target = tmp_path / name
        contents = unpack(write(tmp_path / "image.tar", make(parts)), target)
        assert contents == inspect(tmp_path / "image.tar")
        assert contents.format is Format.OCI_IMAGE
        trees.append(tree_of(target))
    assert trees[0] == trees[1]
    return trees[0]


@pytest.mark.parametrize("compression", PACKERS)
def test_an_image_is_flattened_however_its_layers_are_compressed(tmp_path: Path, compression: str) -> None:
    lower = [directory("var"), directory("var/task"), APP, Item("var/task/run", b"#!", mode=0o755)]
    parts = image(lower, [Item("var/task/data", b"d" * 5000)], compression=compression)
    assert unpacked(tmp_path, parts) == {"app.py": APP.data, "run": b"#!", "data": b"d" * 5000}
    assert (tmp_path / "oci layout/run").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("working_directory", "expected"),
    [
        ("/srv/app", {"a": b"app"}),
        ("srv/app/", {"a": b"app"}),
        ("", {"app.py": APP.data}),
        ("/", {"app.py": APP.data}),
    ],
)
def test_code_is_the_working_directory_else_var_task(
    tmp_path: Path, working_directory: str, expected: dict[str, bytes]
) -> None:
    parts = image([APP, Item("srv/app/a", b"app"), Item("etc/passwd", b"root")], working_directory=working_directory)
    assert unpacked(tmp_path, parts) == expected


def test_without_a_working_directory_and_var_task_code_is_all_there_is(tmp_path: Path) -> None:
    assert unpacked(tmp_path, image([Item("app.py", b"x")])) == {"app.py": b"x"}


def test_what_is_not_code_need_not_be_fit_for_it(tmp_path: Path) -> None:
    lower = [
        symlink("bin", "/usr/bin"),
        symlink("etc/localtime", "/usr/share/zoneinfo/UTC"),
        Item("lib/systemd/system-systemd\\x2dcrypt.slice", b"unit"),
        symlink("a", "b"),
        hard_link("c", "a"),
        APP,
    ]
    assert unpacked(tmp_path, image(lower)) == {"app.py": APP.data}


@pytest.mark.parametrize("step", [1, -1], ids=["whiteouts last", "whiteouts first"])
def test_whiteouts_take_away_what_is_below_and_nothing_of_their_own_layer(tmp_path: Path, step: int) -> None:
    lower = [Item("a", b"1"), Item("b/c", b"1"), Item("b/d", b"1"), Item("e/f/g", b"1"), Item("h", b"1")]
    upper = [
        Item("a", b"2"),
        Item("b/new", b"2"),
        Item("e/mine", b"2"),
        Item(".wh.a"),
        Item("b/.wh..wh..opq"),
        Item(".wh.e"),
        Item(".wh.nothing"),
    ]
    expected = {"a": b"2", "b": None, "b/new": b"2", "e": None, "e/mine": b"2", "h": b"1"}
    assert unpacked(tmp_path, image(lower, upper[::step])) == expected


def test_an_opaque_root_hides_everything_below(tmp_path: Path) -> None:
    assert unpacked(tmp_path, image([Item("a", b"1"), Item("b/c", b"1")], [Item(".wh..wh..opq"), Item("n", b"2")])) == {
        "n": b"2"
    }


def test_a_later_layer_stands_in_for_an_earlier_one(tmp_path: Path) -> None:
    lower = [
        Item("file", b"1"),
        Item("dir/a", b"1"),
        Item("was-file", b"1"),
        directory("joined"),
        Item("joined/x", b"1"),
    ]
    upper = [
        Item("file", b"2"),
        Item("dir", b"2"),
        directory("was-file"),
        Item("was-file/x", b"2"),
        directory("joined"),
        Item("joined/y", b"2"),
    ]
    assert unpacked(tmp_path, image(lower, upper)) == {
        "file": b"2",
        "dir": b"2",
        "was-file": None,
        "was-file/x": b"2",
        "joined": None,
        "joined/x": b"1",
        "joined/y": b"2",
    }


def test_a_hard_link_to_a_file_of_a_lower_layer_outlives_it(tmp_path: Path) -> None:
    parts = image([Item("a", b"data")], [hard_link("b", "a"), hard_link("c", "b")], [Item(".wh.a")])
    assert unpacked(tmp_path, parts) == {"b": b"data", "c": b"data"}
    assert (tmp_path / "oci layout/b").samefile(tmp_path / "oci layout/c")


def test_an_absolute_link_into_the_code_becomes_a_relative_one(tmp_path: Path) -> None:
    parts = image([APP, Item("var/task/lib/x", b"x"), symlink("var/task/deep/y", "/var/task/lib/x")])
    assert unpacked(tmp_path, parts)["deep/y"] == "../lib/x"


def test_layers_that_were_saved_once_for_two_images_are_found(tmp_path: Path) -> None:
    parts = image([APP])
    files = docker_files(parts)
    layer = f"{0:064x}/layer.tar"
    items = [Item(name.replace(layer, "shared/layer.tar"), data) for name, data in files.items()]
    archive = write(tmp_path / "image.tar", tar_bytes([symlink(layer, "../shared/layer.tar"), *items]))
    assert inspect(archive).file_count == 1


def test_the_guests_platform_is_chosen_among_several(tmp_path: Path) -> None:
    files = layout_files(image([APP]))
    other = layout_files(image([APP, Item("var/task/arm", b"x")], platform={"os": "linux", "architecture": "arm64"}))
    descriptors = [
        {**json.loads(made["index.json"])["manifests"][0], "platform": {"os": "linux", "architecture": name}}
        for made, name in ((other, "arm64"), (files, "amd64"))
    ]
    index = json.dumps({"manifests": [*descriptors, {"digest": digest(b""), "platform": {"os": "unknown"}}]}).encode()
    top = {
        "manifests": [
            {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(index), "size": len(index)}
        ]
    }
    nested = {**other, **files, f"blobs/sha256/{sha256(index)}": index, "index.json": json.dumps(top).encode()}
    assert inspect(write(tmp_path / "image.tar", tar_of(nested))).file_count == 1


def test_an_index_without_images_leaves_it_to_the_other_description(tmp_path: Path) -> None:
    parts = image([APP])
    files = {**layout_files(parts), **docker_files(parts), "index.json": b'{"manifests": null}'}
    assert inspect(write(tmp_path / "image.tar", tar_of(files))).file_count == 1


def refusal(tmp_path: Path, data: bytes) -> UnsafeArchive:
    with pytest.raises(UnsafeArchive) as caught:
        unpack(write(tmp_path / "image.tar", data), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"image.tar"}
    return caught.value


@pytest.mark.parametrize(
    ("parts", "reason", "says"),
    [
        (image([APP], platform={"os": "linux", "architecture": "arm64"}), Reason.UNSUPPORTED, "--platform linux/amd64"),
        (image([APP], working_directory="/nowhere"), Reason.EMPTY, "WORKDIR"),
        (image([symlink("code", "var/task"), APP], working_directory="/code"), Reason.EMPTY, "WORKDIR"),
        (image([directory("var/task")]), Reason.EMPTY, "no file"),
        (image([APP, symlink("var/task/x", "/etc/passwd")]), Reason.LINK, "absolute"),
        (image([APP, symlink("var/task/x", "../../etc")]), Reason.LINK, "out of the tree"),
        (image([APP, Item("dev/null", type=Type.DEVICE)]), Reason.SPECIAL_FILE, "device"),
        (image([symlink("var", "etc")], [Item("var/passwd", b"x")]), Reason.CONFLICT, "through `var`"),
        (image([APP], config={"rootfs": {"diff_ids": []}}), Reason.CORRUPT, "1 layers"),
        (image(*[[APP]] * 128), Reason.UNSUPPORTED, "127"),
    ],
)
@pytest.mark.parametrize("saved", IMAGE_MAKERS)
def test_an_image_that_cannot_be_code_is_refused_with_what_to_do(
    tmp_path: Path, saved: str, parts: ImageParts, reason: Reason, says: str
) -> None:
    refused = refusal(tmp_path, IMAGE_MAKERS[saved](parts))
    assert refused.reason is reason
    assert says in refused.message


QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(
    seed=st.integers(0, 2**32),
    compression=st.sampled_from(sorted(PACKERS)),
    saved=st.sampled_from(sorted(IMAGE_MAKERS)),
)
def test_damage_is_refused_or_harmless_but_never_a_crash(seed: int, compression: str, saved: str) -> None:
    parts = image([APP, Item("var/task/x", b"x" * 700)], [Item("var/task/.wh.x")], compression=compression)
    data = bytearray(IMAGE_MAKERS[saved](parts))
    chance = random.Random(seed)  # noqa: S311 - it chooses which bytes to damage
    for _ in range(3):
        data[chance.randrange(len(data))] = chance.randrange(256)
    with tempfile.TemporaryDirectory() as temporary:
        archive = write(Path(temporary, "image.tar"), bytes(data))
        try:
            unpack(archive, Path(temporary, "out"))
        except UnsafeArchive:
            assert {path.name for path in Path(temporary).iterdir()} == {"image.tar"}
        else:
            # The damage was where nothing is read: no other code comes of it.
            assert tree_of(Path(temporary, "out")) == {"app.py": APP.data}


def test_an_image_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data = layout(image([APP], compression="+zstd"))
    end = len(data.rstrip(b"\0"))
    for length in range(262, end, 97):
        assert refusal(tmp_path, data[:length]).reason is Reason.CORRUPT
