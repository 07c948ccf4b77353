"""Blank containers: which each VM has, who takes them, and how they are replaced.

A VM that is cloned from a template has its blank containers from there (`prepare_template`); any other gets them in the
background. `blank_rules.py` decides how many there are.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_hostagent import blank_rules
from stoker_hostagent.activity import Activity
from stoker_hostagent.blank_rules import Drop, Make
from stoker_hostagent.guest_messages import GuestContainer, GuestFacts
from stoker_hostagent.vm import Vm, VmState

log = structlog.get_logger()

PREFIX = "blank-"
"""What the ids of blank containers begin with; 12 hexadecimal digits follow."""
QUIET_S = 1.0
"""For how long nobody must have waited for anything in a VM before a blank container is made there, in seconds."""
PATIENCE_S = 30.0
"""How long such a pause is waited for, in seconds. In a VM that is always busy new containers are wanted too."""
PATIENCE_WITHOUT_S = 0.5
"""How long, where there is none left of a runtime and no container is being made: the next version may come soon, and
what is made in the background hardly delays others."""
AGAIN_S = (2.0, 5.0, 15.0, 60.0)
"""How long to wait after each failure in a row, in seconds; the last for all that follow."""


class BlankGuest(Protocol):
    """A VM's guest agent, as far as blank containers need it. `guest.Guest` says how each call behaves."""

    async def wait_answer(self) -> GuestFacts:
        """What the guest says of itself."""
        ...

    async def create_container(
        self, container: str, runtime: str, memory_mib: int, tmp_mib: int, *, is_in_background: bool = False
    ) -> None:
        """Makes a blank container."""
        ...

    async def destroy_container(self, container: str) -> None:
        """Kills a container and removes all it left."""
        ...

    async def list_containers(self) -> Sequence[GuestContainer]:
        """Lists the containers."""
        ...


@dataclass(slots=True)
class _Making:
    runtime: str
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Page:
    """What is known of one VM."""

    blanks: dict[str, str] = field(default_factory=dict[str, str])
    """The runtime of each, by its id."""
    is_known: asyncio.Event = field(default_factory=asyncio.Event)
    is_due: asyncio.Event = field(default_factory=asyncio.Event)
    making: _Making | None = None
    tending: "asyncio.Task[None] | None" = None


def new_id() -> str:
    """An id for a blank container."""
    return PREFIX + secrets.token_hex(6)


def is_blank(container: GuestContainer) -> bool:
    """Whether what a guest lists is a blank container that can be used."""
    return container.id.startswith(PREFIX) and not container.is_loaded


async def prepare_template(guest: BlankGuest, per_runtime: int) -> None:
    """Makes the blank containers of a template, before it is saved.

    Raises:
        StokerError: The guest cannot be reached, or could not make one.
    """
    for runtime in (await guest.wait_answer()).runtimes:
        for _ in range(per_runtime):
            await guest.create_container(new_id(), runtime, blank_rules.MEMORY_MIB, blank_rules.TMP_MIB)


class Blanks:
    """The blank containers of this host's VMs."""

    def __init__(
        self,
        guest_of: Callable[[str], BlankGuest],
        free_mib: Callable[[str], int],
        changed: Callable[[str], None],
        activity: Activity,
        background: Background,
        *,
        per_runtime: int,
    ) -> None:
        """Knows no VM yet.

        Args:
            guest_of: Finds a VM's guest agent.
            free_mib: What a VM has for containers beyond the limits of those with code, in MiB.
            changed: Told of a VM that has other blank containers than before.
            activity: What is under way in VMs.
            background: What owns the making.
            per_runtime: How many a VM should have of each runtime.
        """
        self._guest_of = guest_of
        self._free_mib = free_mib
        self._changed = changed
        self._activity = activity
        self._background = background
        self._per_runtime = per_runtime
        self._pages: dict[str, _Page] = {}

    def counts(self, vm_id: str) -> Mapping[str, int]:
        """How many there are in a VM, by runtime."""
        page = self._pages.get(vm_id)
        return Counter(page.blanks.values()) if page else {}

    def vm_changed(self, vm: Vm) -> None:
        """Takes care of a VM from when it has booted until it ends."""
        match vm.state:
            case VmState.WARMING | VmState.ACTIVE if vm.id not in self._pages:
                self._tend(vm.id, _Page())
            case VmState.ENDING:
                self.forget(vm.id)
            case _:
                pass

    def adopt(self, vm_id: str, listed: Sequence[GuestContainer]) -> None:
        """Takes care of a VM that an earlier host agent left, whose containers have been listed."""
        page = _Page({container.id: container.runtime for container in listed if is_blank(container)})
        page.is_known.set()
        self.forget(vm_id)
        self._tend(vm_id, page)

    def forget(self, vm_id: str) -> None:
        """Forgets a VM that ends."""
        page = self._pages.pop(vm_id, None)
        if page is not None and page.tending is not None:
            page.tending.cancel()
        self._activity.forget(vm_id)

    def exited(self, vm_id: str, blank: str) -> None:
        """A blank container has ended by itself. Any other is no error."""
        page = self._pages.get(vm_id)
        if page is not None and page.blanks.pop(blank, None):
            log.warning("blank.exited", vm=vm_id, blank=blank)
            self._tell(vm_id, page)

    def look_again(self, vm_id: str) -> None:
        """The room in a VM has changed."""
        if page := self._pages.get(vm_id):
            page.is_due.set()

    async def take(self, vm_id: str, runtime: str) -> str | None:
        """Takes a blank container for good, and returns its id; None where there is none.

        One that is being made is waited for: another would not be ready sooner.
        """
        page = self._pages.get(vm_id)
        if page is None or not self._per_runtime:
            return None
        await page.is_known.wait()
        if (blank := self._pick(vm_id, page, runtime)) is None and page.making and page.making.runtime == runtime:
            await page.making.has_ended.wait()
            blank = self._pick(vm_id, page, runtime)
        return blank

    def discard(self, vm_id: str, blank: str) -> None:
        """Destroys a blank container that was taken and could not be used."""
        self._background.start(self._destroy(vm_id, blank), f"destroy {blank}")

    def _pick(self, vm_id: str, page: _Page, runtime: str) -> str | None:
        for blank, its_runtime in page.blanks.items():
            if its_runtime == runtime:
                del page.blanks[blank]
                self._tell(vm_id, page)
                return blank
        return None

    def _tell(self, vm_id: str, page: _Page) -> None:
        page.is_due.set()
        self._changed(vm_id)

    def _tend(self, vm_id: str, page: _Page) -> None:
        self._pages[vm_id] = page
        page.is_due.set()
        page.tending = self._background.start(self._keep(vm_id, page), f"blank containers of {vm_id}")

    async def _keep(self, vm_id: str, page: _Page) -> None:
        """Keeps a VM's blank containers as they should be, until it is cancelled."""
        failures = 0
        while True:
            try:
                if not page.is_known.is_set():
                    await self._learn(vm_id, page)
                await page.is_due.wait()
                page.is_due.clear()
                await self._bring_in_order(vm_id, page)
                failures = 0
            except StokerError as error:
                page.is_known.set()
                page.is_due.set()
                log.warning("blanks.failed", vm=vm_id, reason=error.reason, message=error.message)
                await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
                failures += 1

    async def _learn(self, vm_id: str, page: _Page) -> None:
        listed = await self._guest_of(vm_id).list_containers()
        page.blanks.update({container.id: container.runtime for container in listed if is_blank(container)})
        page.is_known.set()
        if page.blanks:
            self._changed(vm_id)

    async def _bring_in_order(self, vm_id: str, page: _Page) -> None:
        guest = self._guest_of(vm_id)
        wanted = dict.fromkeys((await guest.wait_answer()).runtimes, self._per_runtime)
        while step := blank_rules.next_step(page.blanks, wanted, self._free_mib(vm_id)):
            match step:
                case Drop(blank):
                    await self._drop(vm_id, page, blank)
                case Make(runtime):
                    await self._wait_for_pause(vm_id, is_last=runtime not in page.blanks.values())
                    # Much may have happened meanwhile.
                    if blank_rules.next_step(page.blanks, wanted, self._free_mib(vm_id)) == step:
                        await self._make(vm_id, page, runtime)

    async def _wait_for_pause(self, vm_id: str, *, is_last: bool) -> None:
        """Waits until nobody waits for anything in a VM, for a while at the most."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + PATIENCE_S
        while (left_s := give_up_s - loop.time()) > 0:
            within_s = min(left_s, PATIENCE_WITHOUT_S) if is_last else left_s
            is_quiet = await self._activity.quiet(vm_id, for_s=QUIET_S, within_s=within_s)
            if is_quiet or (is_last and not self._activity.is_making(vm_id)):
                return

    async def _drop(self, vm_id: str, page: _Page, blank: str) -> None:
        runtime = page.blanks.pop(blank)
        self._changed(vm_id)
        try:
            await self._guest_of(vm_id).destroy_container(blank)
        except StokerError:
            page.blanks[blank] = runtime
            raise

    async def _make(self, vm_id: str, page: _Page, runtime: str) -> None:
        blank, page.making = new_id(), _Making(runtime)
        making, is_made = page.making, False
        try:
            await self._guest_of(vm_id).create_container(
                blank, runtime, blank_rules.MEMORY_MIB, blank_rules.TMP_MIB, is_in_background=True
            )
            page.blanks[blank] = runtime
            is_made = True
            log.info("blank.made", vm=vm_id, blank=blank, runtime=runtime)
            self._changed(vm_id)
        finally:
            page.making = None
            making.has_ended.set()
            if not is_made:
                self.discard(vm_id, blank)

    async def _destroy(self, vm_id: str, blank: str) -> None:
        try:
            await self._guest_of(vm_id).destroy_container(blank)
        except StokerError as error:
            # Its VM has ended, or is given up by whoever finds it silent; a later host agent destroys what is left.
            log.warning("blank.not_destroyed", vm=vm_id, blank=blank, reason=error.reason)
