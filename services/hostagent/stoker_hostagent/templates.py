"""The templates that clones are made of: found on disk, or made in the background; replaced when they are broken."""

import asyncio
from collections.abc import Callable, Iterable

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
        self._ready: dict[Shape, Template] = {}
        self._is_gone: dict[Shape, asyncio.Event] = {}
        self._has_changed = asyncio.Event()

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
            self.wanted(shape)

    def wanted(self, shape: Shape) -> Template | None:
        """The template of a shape, if it is there at this moment. If not, it is made in the background."""
        if shape not in self._is_gone and len(self._is_gone) < MAX_SHAPES:
            self._is_gone[shape] = asyncio.Event()
            self._tasks.start(self._keep(shape), f"template of {shape.vcpus} vCPUs and {shape.memory_mib} MiB")
        template = self._ready.get(shape)
        if template is not None and not template.is_intact():
            self.discard(template, "it was changed on disk")
            return None
        return template

    async def ready(self, shape: Shape) -> Template:
        """Waits for the template of a shape, for ever where it cannot be made."""
        while (template := self.wanted(shape)) is None:
            self._has_changed.clear()
            await self._has_changed.wait()
        return template

    def used(self, template: Template) -> None:
        """Remembers that a template was used just now."""
        self._store.used(template.key)

    def discard(self, template: Template, why: str) -> None:
        """Takes a template out of use, which is made again. One that is out of use already is no error."""
        if self._ready.get(template.shape) is template:
            log.error("template.discarded", template=template.key, why=why)
            del self._ready[template.shape]
            self._is_gone[template.shape].set()

    async def _keep(self, shape: Shape) -> None:
        """Finds or makes the template of a shape, again whenever it is gone."""
        key = self._key_of(shape)
        failures = 0
        template = await asyncio.to_thread(self._store.load, key)
        while True:
            try:
                template = template or await self._maker.make(key, shape)
            except (StokerError, TemplateInvalid, TimeoutError, OSError) as error:
                log.error("template.not_made", template=key, message=str(error) or "it took too long")
            else:
                is_gone = self._is_gone[shape]
                is_gone.clear()
                self._ready[shape] = template
                self._has_changed.set()
                log.info("template.ready", template=key, vcpus=shape.vcpus, memory_mib=shape.memory_mib)
                await is_gone.wait()
                await asyncio.to_thread(self._store.remove, key)
            template = None
            await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
            failures += 1
