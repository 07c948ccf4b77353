"""The templates that clones are made of: found on disk, or made in the background; replaced when they are broken."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent.template_making import TemplateMaker
from stoker_hostagent.template_store import Template, TemplateInvalid, TemplateStore
from stoker_hostagent.vm import Shape

log = structlog.get_logger()

MAX_SHAPES = 16
"""Of how many shapes templates are kept; VMs of others are booted."""
AGAIN_S = (30.0, 60.0, 120.0, 600.0)
"""How long to wait after each failure before a template is made again, in seconds; the last for all that follow. Where
one was broken a VM is booted meanwhile, which has the processors first."""


@dataclass(slots=True)
class _Place:
    """What there is of one shape."""

    template: Template | None = None
    is_looked_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is known whether the disk holds a template."""
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    is_gone: asyncio.Event = field(default_factory=asyncio.Event)


class Templates:
    """The template of each shape that was ever asked for."""

    def __init__(
        self, store: TemplateStore, maker: TemplateMaker, key_of: Callable[[Shape], str], tasks: Background
    ) -> None:
        """Knows no template yet.

        Args:
            store: Where they are kept.
            maker: Makes them.
            key_of: What the template of a shape is kept under.
            tasks: What owns their making.
        """
        self._store = store
        self._maker = maker
        self._key_of = key_of
        self._tasks = tasks
        self._places: dict[Shape, _Place] = {}

    @property
    def maker(self) -> TemplateMaker:
        """What makes them."""
        return self._maker

    async def open(self, shapes: Iterable[Shape]) -> None:
        """Begins to find or make the templates of these shapes. Call it once, before anything else.

        Raises:
            OSError: The directory cannot be made.
        """
        await asyncio.to_thread(self._store.open)
        for shape in shapes:
            self._place(shape)

    async def find(self, shape: Shape) -> Template | None:
        """The template of a shape, where there is one. Where there is none it is made in the background.

        It waits until the disk has been looked at, which is done once for each shape, and not for the making.
        """
        if (place := self._place(shape)) is None:
            return None
        await place.is_looked_up.wait()
        template = place.template
        if template is not None and not template.is_intact():
            self.discard(template, "it was changed on disk")
            return None
        return template

    async def wait_ready(self, shape: Shape) -> None:
        """Returns when there is a template of a shape; never where none can be made."""
        place = self._place(shape)
        await (place.is_ready.wait() if place is not None else asyncio.Event().wait())

    def used(self, template: Template) -> None:
        """Remembers that a template was used just now."""
        self._store.used(template.key)

    def discard(self, template: Template, why: str) -> None:
        """Takes a template out of use, which is made again. One that is out of use already is no error."""
        place = self._places[template.shape]
        if place.template is template:
            log.error("template.discarded", template=template.key, why=why)
            place.template = None
            place.is_ready.clear()
            place.is_gone.set()

    def _place(self, shape: Shape) -> _Place | None:
        if shape not in self._places:
            if len(self._places) >= MAX_SHAPES:
                return None
            place = self._places[shape] = _Place()
            self._tasks.start(self._keep(shape, place), f"template of {shape.vcpus} vCPUs and {shape.memory_mib} MiB")
        return self._places[shape]

    async def _keep(self, shape: Shape, place: _Place) -> None:
        """Finds or makes the template of a shape, again whenever it is gone."""
        key = self._key_of(shape)
        failures = 0
        template = await asyncio.to_thread(self._store.load, key)
        while True:
            try:
                if template is None:
                    place.is_looked_up.set()
                    template = await self._maker.make(key, shape)
            except (StokerError, TemplateInvalid, TimeoutError, OSError) as error:
                log.error("template.not_made", template=key, message=str(error) or "it took too long")
            else:
                place.is_gone.clear()
                place.template = template
                place.is_looked_up.set()
                place.is_ready.set()
                log.info("template.ready", template=key, vcpus=shape.vcpus, memory_mib=shape.memory_mib)
                await place.is_gone.wait()
                await asyncio.to_thread(self._store.remove, key)
            template = None
            await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
            failures += 1
