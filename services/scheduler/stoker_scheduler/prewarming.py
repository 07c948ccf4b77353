"""Containers that are loaded once because whoever published a version asked for them, before anybody calls it.

They come after all demands, end nothing to make room, and are under no lease. When they are loaded they are idle
containers as any other: keep-alive ends them.
"""

from dataclasses import dataclass

from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.machines import Container, ContainerState, Version

AT_ONCE = 20
"""How many containers are begun in the whole fleet at one time."""
PATIENCE_S = 120.0
"""How long room is waited for; whatever there is none for by then is not loaded."""
MAX_WISHES = 1000
"""Of how many versions containers are wished for at once; the oldest wish goes first."""


@dataclass(frozen=True, slots=True)
class _Wish:
    version: Version
    containers: int
    until_s: float


class Prewarming:
    """What is wished for. It has no clock: time comes with what is asked."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        """Begins without wishes."""
        self._dispatcher = dispatcher
        self._wishes: dict[str, _Wish] = {}
        self._begun: dict[str, int] = {}

    def wish(self, version: Version, containers: int, now_s: float) -> None:
        """Has so many containers of a version loaded, those that are there already among them."""
        self._forget(version.uid)
        self._wishes[version.uid] = _Wish(version, containers, now_s + PATIENCE_S)
        if len(self._wishes) > MAX_WISHES:
            self._forget(next(iter(self._wishes)))

    def plan(self, now_s: float) -> list[Container]:
        """The containers to make now. They are in the fleet from then on."""
        make: list[Container] = []
        for uid, wish in list(self._wishes.items()):
            begun = self._begun.setdefault(uid, self._alive(wish.version))
            while begun < wish.containers and len(make) < AT_ONCE:
                container = self._dispatcher.prewarm(wish.version, now_s)
                if container is None:
                    break
                make.append(container)
                begun += 1
            # Each is begun once: what ends later, or fails to load, is nobody's wish any more.
            self._begun[uid] = begun
            if begun >= wish.containers or now_s >= wish.until_s:
                self._forget(uid)
        return make

    def _alive(self, version: Version) -> int:
        return sum(
            container.version.uid == version.uid and container.state is not ContainerState.ENDING
            for container in self._dispatcher.fleet.lists.of_function(version.key)
        )

    def _forget(self, uid: str) -> None:
        self._wishes.pop(uid, None)
        self._begun.pop(uid, None)
