"""Templates on disk: verified when found, bounded in space, and given to readers through a pipe."""

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from stoker_hostagent import image_feed, template_recipe
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.image_feed import PIPE_BYTES, feeding
from stoker_hostagent.template_recipe import Platform
from stoker_hostagent.template_store import TemplateInvalid, TemplateStore
from stoker_hostagent.vm import Shape

from tests.hostagent.saved_templates import HEADER, save

SHAPE = Shape(1, 512)
MIB = 1024 * 1024
IMAGE = GuestImage("0123456789abcdef", Path("/images/0123456789abcdef"), "console=ttyS0", ("python3",))
TCG = Accelerator("qemu", "for tests")
PLATFORM = Platform("9000000 7002018", "QEMU emulator version 7.2.18", "", "blanks")


@pytest.fixture
def store(tmp_path: Path) -> TemplateStore:
    made = TemplateStore(tmp_path / "templates", 3 * MIB)
    made.open()
    return made


def test_a_template_is_found_again_as_it_was_made(store: TemplateStore) -> None:
    template = save(store, "a", SHAPE)
    assert template.header == HEADER
    assert template.is_intact()
    assert store.load("a") == template
    assert store.load("b") is None


@pytest.mark.parametrize("harm", ["truncate", "flip", "facts", "no facts", "no memory"])
def test_a_broken_template_is_removed_when_it_is_found(store: TemplateStore, harm: str) -> None:
    template = save(store, "a", SHAPE)
    facts = template.file.with_name("template.json")
    match harm:
        case "truncate":
            os.truncate(template.file, MIB // 2)
        case "flip":
            with template.file.open("r+b") as file:
                file.seek(MIB // 2)
                byte = file.read(1)[0]
                file.seek(MIB // 2)
                file.write(bytes((byte ^ 1,)))
        case "facts":
            facts.write_text("{")
        case "no facts":
            facts.unlink()
        case _:
            template.file.unlink()
    assert store.load("a") is None
    assert not template.file.parent.exists()


def test_a_template_that_changes_later_is_noticed_by_its_size_or_time(store: TemplateStore) -> None:
    template = save(store, "a", SHAPE)
    os.utime(template.file, ns=(1, 1))
    assert not template.is_intact()
    assert not replace(save(store, "b", SHAPE), size_bytes=1).is_intact()
    template = save(store, "c", SHAPE)
    template.file.unlink()
    assert not template.is_intact()


def test_what_was_not_finished_is_removed_at_start_up(store: TemplateStore, tmp_path: Path) -> None:
    save(store, "a", SHAPE)
    store.begin("b").write_bytes(b"half")
    store.open()
    assert [path.name for path in (tmp_path / "templates").iterdir()] == ["a"]


def test_what_libvirt_did_not_finish_is_no_template(store: TemplateStore) -> None:
    store.begin("a").write_bytes(b"LibvirtQemudPart" + bytes(MIB))
    with pytest.raises(TemplateInvalid, match="did not finish"):
        store.finish("a", SHAPE)
    store.give_up("a")
    assert store.load("a") is None


def test_templates_that_were_unused_for_longest_make_room(store: TemplateStore, tmp_path: Path) -> None:
    for age, key in enumerate("ba"):
        save(store, key, SHAPE)
        os.utime(tmp_path / "templates" / key / "template.json", ns=(age, age))
    store.used("b")
    save(store, "c", SHAPE)
    assert {path.name for path in (tmp_path / "templates").iterdir()} == {"b", "c"}


def test_a_template_larger_than_all_may_be_is_refused(store: TemplateStore) -> None:
    kept = save(store, "a", SHAPE)
    with pytest.raises(TemplateInvalid, match="templates may take 3 MiB"):
        save(store, "b", SHAPE, 4 * MIB)
    assert kept.is_intact()


def test_whatever_goes_into_a_template_changes_its_key() -> None:
    base = template_recipe.key(SHAPE, IMAGE, TCG, PLATFORM)
    others = [
        template_recipe.key(Shape(2, 512), IMAGE, TCG, PLATFORM),
        template_recipe.key(Shape(1, 513), IMAGE, TCG, PLATFORM),
        template_recipe.key(SHAPE, replace(IMAGE, id="f" * 16), TCG, PLATFORM),
        template_recipe.key(SHAPE, replace(IMAGE, kernel_cmdline="quiet"), TCG, PLATFORM),
        template_recipe.key(SHAPE, IMAGE, Accelerator("kvm", "for tests"), PLATFORM),
        template_recipe.key(SHAPE, IMAGE, Accelerator("kvm", "for tests", ("arch-capabilities",)), PLATFORM),
        *(
            template_recipe.key(SHAPE, IMAGE, TCG, replace(PLATFORM, **{field: "other"}))
            for field in ("hypervisor", "qemu", "host", "preparation")
        ),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert template_recipe.key(SHAPE, IMAGE, replace(TCG, reason="another"), PLATFORM) == base


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "image"
    file.write_bytes(b"skipped" + os.urandom(3 * PIPE_BYTES + 17))
    return file


async def test_a_reader_gets_the_header_and_then_the_image(image: Path, tmp_path: Path) -> None:
    async with feeding(tmp_path / "pipe", b"header", image, 7) as pipe:
        read, written = await asyncio.gather(asyncio.to_thread(pipe.read_bytes), asyncio.to_thread(image.read_bytes))
    assert read == b"header" + written[7:]
    assert not pipe.exists()


async def test_a_reader_that_stops_midway_holds_nobody_up(image: Path, tmp_path: Path) -> None:
    async with feeding(tmp_path / "pipe", b"header", image, 7) as pipe:
        with pipe.open("rb") as reading:
            assert reading.read(6) == b"header"
    assert not pipe.exists()


async def test_a_reader_sees_the_end_when_feeding_is_given_up(image: Path, tmp_path: Path) -> None:
    async with feeding(tmp_path / "pipe", b"header", image, 7) as pipe:
        reading = pipe.open("rb")
    with reading:
        assert len(await asyncio.to_thread(reading.read)) <= PIPE_BYTES


def list_of(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_an_image_that_is_not_there_leaves_no_pipe(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with feeding(tmp_path / "pipe", b"header", tmp_path / "missing", 7):
            raise AssertionError("there is nothing to feed")
    assert not list_of(tmp_path)


def test_removing_a_pipe_releases_whoever_waits_at_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    waiting = threading.Thread(target=pipe.read_bytes, daemon=True)
    waiting.start()
    while not is_opening(waiting):
        os.sched_yield()
    image_feed.discard(pipe)
    waiting.join(5)
    assert not waiting.is_alive()
    assert not pipe.exists()
    image_feed.discard(pipe)


def is_opening(thread: threading.Thread) -> bool:
    """Whether a thread waits in the system call that opens files."""
    return Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().startswith("257 ")
