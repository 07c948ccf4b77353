"""The directory of images: what is in it is complete, however a build ends."""

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from stoker_guest_image.__main__ import main
from stoker_guest_image.errors import ImageError
from stoker_guest_image.images import DESCRIPTION, FILES, ImagesDirectory
from stoker_guest_image.progress import Progress
from stoker_guest_image.recipe import parse_recipe, read_recipe
from stoker_guest_image.sources import find_sources


def write_image(directory: Path) -> None:
    """Writes what looks like an image."""
    for name in (*FILES, DESCRIPTION):
        (directory / name).write_text(name)


def test_an_image_appears_whole(tmp_path: Path) -> None:
    images = ImagesDirectory(tmp_path)

    with images.making(images.image("a1")) as directory:
        write_image(directory)
        assert not images.has_image("a1")

    assert images.has_image("a1")


def _break_off(images: ImagesDirectory) -> None:
    with images.making(images.image("a1")) as directory:
        write_image(directory)
        raise ImageError("broken")


def test_a_broken_build_leaves_nothing(tmp_path: Path) -> None:
    images = ImagesDirectory(tmp_path)

    with pytest.raises(ImageError, match="broken"):
        _break_off(images)

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".new-x" / "tree").mkdir(parents=True)

    with ImagesDirectory(tmp_path).locked(Progress()):
        assert not (tmp_path / ".new-x").exists()


def test_an_image_that_lost_a_file_is_made_again(tmp_path: Path) -> None:
    images = ImagesDirectory(tmp_path)
    for _ in range(2):
        assert not images.has_image("a1")
        with images.making(images.image("a1")) as directory:
            write_image(directory)
        assert images.has_image("a1")
        (images.image("a1") / FILES[0]).unlink()


def test_pruning_keeps_the_current_image_and_base_and_what_is_none_of_ours(tmp_path: Path) -> None:
    images = ImagesDirectory(tmp_path)
    for path in (images.image("a1"), images.image("a2"), images.base("b1"), images.base("b2")):
        path.mkdir()
    for name in ("a1", "a2"):
        write_image(images.image(name))
    (tmp_path / "notes").mkdir()

    removed = images.remove_others("a2", "b2")

    assert {path.name for path in removed} == {"a1", "base-b1"}
    assert {path.name for path in tmp_path.iterdir()} == {"a2", "base-b2", "notes"}


class _LetsGoWhenTold(Progress):
    """Lets the other build go on as soon as this one says that it waits."""

    def __init__(self, may_end: Event) -> None:
        super().__init__()
        self._may_end = may_end

    def say(self, text: str) -> None:
        super().say(text)
        self._may_end.set()


def _hold_lock(path: Path, is_held: Event, may_end: Event) -> None:
    with ImagesDirectory(path).locked(Progress()):
        is_held.set()
        may_end.wait(10)


def test_two_builds_never_work_at_the_same_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spawn = multiprocessing.get_context("spawn")
    is_held, may_end = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold_lock, args=(tmp_path, is_held, may_end))
    other.start()
    assert is_held.wait(20)

    with ImagesDirectory(tmp_path).locked(_LetsGoWhenTold(may_end)):
        other.join(10)

    assert other.exitcode == 0
    assert "waiting for another build" in capfd.readouterr().err


def test_a_directory_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(ImageError, match="--images-dir"),
        ImagesDirectory(tmp_path / "file" / "images").locked(Progress()),
    ):
        pass


def test_the_recipe_of_this_checkout_is_whole() -> None:
    recipe = read_recipe(find_sources().recipe)

    assert recipe.base.suite == "bookworm"
    assert "panic=-1" in recipe.kernel_cmdline.split()
    assert {"var/task", "opt", "shared", "proc", "sys", "dev", "tmp", "run"} <= set(recipe.directories)


@pytest.mark.parametrize(("text", "told"), [("", "packages_since|base"), ("=", "no TOML")])
def test_a_bad_recipe_is_refused(text: str, told: str) -> None:
    with pytest.raises(ImageError, match=told):
        parse_recipe(text)


def test_the_path_of_an_image_that_is_not_built_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path", "--images-dir", str(tmp_path)]) == 1
    assert "python -m stoker_guest_image build" in capsys.readouterr().err


def test_the_id_is_told_without_building(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["id", "--images-dir", str(tmp_path)]) == 0

    assert len(capsys.readouterr().out.strip()) == 16
    assert list(tmp_path.iterdir()) == []
