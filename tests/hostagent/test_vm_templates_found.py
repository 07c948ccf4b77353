"""Templates are found on disk or made in the background, and made again when they were broken."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest
from stoker_hostagent import templates as module
from stoker_hostagent.template_making import TemplateMaker
from stoker_hostagent.template_store import Template, TemplateInvalid, TemplateStore
from stoker_hostagent.templates import MAX_SHAPES, Templates
from stoker_hostagent.vm import Shape
from stoker_service.background import background

from tests.hostagent.saved_templates import save

SHAPE = Shape(1, 512)


class Maker:
    """Makes templates that no VM went into, when it is let."""

    def __init__(self, store: TemplateStore) -> None:
        self.may_make = asyncio.Event()
        self.failures = 0
        self.made: list[str] = []
        self._store = store

    async def make(self, key: str, shape: Shape) -> Template:
        await self.may_make.wait()
        self.made.append(key)
        if self.failures:
            self.failures -= 1
            raise TemplateInvalid("it was to fail")
        return save(self._store, key, shape)


@pytest.fixture
def store(tmp_path: Path) -> TemplateStore:
    return TemplateStore(tmp_path / "templates", 64 * 1024**2)


@pytest.fixture
def maker(store: TemplateStore) -> Maker:
    return Maker(store)


@pytest.fixture
async def templates(store: TemplateStore, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Templates]:
    monkeypatch.setattr(module, "AGAIN_S", (0.0,))
    async with background() as tasks:
        yield Templates(store, cast(TemplateMaker, maker), lambda shape: f"{shape.vcpus}x{shape.memory_mib}", tasks)


async def test_nobody_waits_for_a_template_that_is_being_made(templates: Templates, maker: Maker) -> None:
    async with asyncio.timeout(10):
        await templates.open([SHAPE])
        assert await templates.find(SHAPE) is None
        maker.may_make.set()
        await templates.wait_ready(SHAPE)
        assert (await templates.find(SHAPE)) is not None


async def test_a_template_on_disk_is_waited_for_and_not_made_again(
    templates: Templates, store: TemplateStore, maker: Maker
) -> None:
    store.open()
    made = save(store, "1x512", SHAPE)
    async with asyncio.timeout(10):
        await templates.open([SHAPE])
        assert await templates.find(SHAPE) == made
    assert maker.made == []


async def test_a_template_that_changed_is_deleted_and_made_again(templates: Templates, maker: Maker) -> None:
    maker.may_make.set()
    async with asyncio.timeout(10):
        await templates.open([SHAPE])
        await templates.wait_ready(SHAPE)
        found = await templates.find(SHAPE)
        assert found is not None
        found.file.write_bytes(b"something else")
        assert await templates.find(SHAPE) is None
        await templates.wait_ready(SHAPE)
        again = await templates.find(SHAPE)
    assert again is not None
    assert again.is_intact()
    assert maker.made == ["1x512"] * 2
    templates.discard(found, "it is out of use already")
    assert await templates.find(SHAPE) == again


async def test_making_is_tried_again_after_failures(templates: Templates, maker: Maker) -> None:
    maker.failures = 3
    maker.may_make.set()
    async with asyncio.timeout(10):
        await templates.open([SHAPE])
        await templates.wait_ready(SHAPE)
    assert maker.made == ["1x512"] * 4


async def test_vms_of_too_many_shapes_are_booted(templates: Templates) -> None:
    async with asyncio.timeout(10):
        await templates.open([Shape(1, 128 + number) for number in range(MAX_SHAPES)])
        assert await templates.find(SHAPE) is None
