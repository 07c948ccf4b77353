"""An image's id says what is in it."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from stoker_guest_image import base
from stoker_guest_image.recipe import BaseRecipe
from stoker_guest_image.sources import files_below, find_sources, image_id

from tests.guest_image.sources import write_sources

RECIPE = BaseRecipe("bookworm", ("main",), ("python3",), (), (), date(2026, 11, 24))


def test_same_sources_have_the_same_id_wherever_and_whenever_they_lie(tmp_path: Path) -> None:
    here, there = write_sources(tmp_path / "here"), write_sources(tmp_path / "there")
    for path in files_below(there.agent):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    cache = there.agent / "__pycache__" / "main.cpython-311.pyc"
    cache.parent.mkdir()
    cache.write_text("compiled")

    assert image_id(here) == image_id(there)


@pytest.mark.parametrize(
    "changed",
    [
        "image/recipe.toml",
        "image/initramfs-init",
        "image/files/etc/hostname",
        "agent/main.py",
        "runtimes/python3/main.py",
        "stoker_ttrpc/__init__.py",
        "guest.binpb",
        "builder/build.py",
    ],
)
def test_any_change_gives_another_id(tmp_path: Path, changed: str) -> None:
    sources = write_sources(tmp_path)
    before = image_id(sources)

    (tmp_path / changed).write_text("changed")

    assert image_id(sources) != before


def test_a_file_added_renamed_or_made_a_program_gives_another_id(tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    ids = [image_id(sources)]

    (sources.agent / "more.py").write_text("")
    ids.append(image_id(sources))
    (sources.agent / "more.py").rename(sources.agent / "other.py")
    ids.append(image_id(sources))
    (sources.agent / "other.py").chmod(0o755)
    ids.append(image_id(sources))

    assert len(set(ids)) == len(ids)


def test_an_id_is_16_hexadecimal_digits(tmp_path: Path) -> None:
    wanted = image_id(write_sources(tmp_path))

    assert len(wanted) == 16
    assert set(wanted) <= set("0123456789abcdef")


def test_a_base_depends_on_its_part_of_the_recipe_alone() -> None:
    assert base.id_of(RECIPE) == base.id_of(replace(RECIPE))
    assert base.id_of(RECIPE) != base.id_of(replace(RECIPE, packages=("python3", "nodejs")))
    assert base.id_of(RECIPE) != base.id_of(replace(RECIPE, packages_since=date(2026, 12, 1)))


def test_the_sources_of_this_checkout_are_found() -> None:
    sources = find_sources()

    assert sources.recipe.is_file()
    assert sources.messages.is_file()
    assert (sources.ttrpc / "__init__.py").is_file()
