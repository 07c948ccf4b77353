"""Which version an invocation runs, as far as the frontend remembers it.

A route is confirmed while the codestore's watch, which tells of every change, has not been interrupted since before the
route was resolved. An unconfirmed one is only good for when the codestore cannot be asked. Everything here is without
I/O or clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

ALL = 100
"""The weights of an alias together."""
MAX_FUNCTIONS = 10_000
MAX_QUALIFIERS_PER_FUNCTION = 256


class RolloverRule(IntEnum):
    """Why a version before the one that is asked for answers, or does not. The values are `stoker.v1.RolloverRule`."""

    UNKNOWN = 0
    SERVED_WHILE_LOADING = 1
    SERVED_WHILE_FAILING = 2
    WAITED_BY_POLICY = 3
    WAITED_AS_STALE = 4
    WAITED_AS_DIFFERENT = 5
    WAITED_AS_ROLLED_BACK = 6
    WAITED_AS_NONE_FREE = 7

    @classmethod
    def _missing_(cls, value: object) -> "RolloverRule":
        """A rule that only a newer codestore knows."""
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class Version:
    """A version, as far as the frontend needs to know it."""

    uid: str
    number: int
    timeout_s: int
    spec: bytes
    """All that a host needs to run it, in the codestore's encoding."""
    concurrency: int = 1
    """How many invocations one container runs at once."""
    previous: "tuple[Previous, ...]" = ()
    """What the alias by which it was found pointed to before, the last one first."""


@dataclass(frozen=True, slots=True)
class Previous:
    """A version that an alias pointed to before another."""

    version: Version
    until_s: float
    """Until when it may answer for the other, by the loop's clock; while that fails to load it may for longer."""
    hindrance: RolloverRule | None = None
    """Why it may not at all."""
    differing_fields: tuple[str, ...] = ()
    """In what callers can see that it is not the other."""
    is_needed: bool = False
    """Whether an alias still points to it."""


@dataclass(frozen=True, slots=True)
class WeightedVersion:
    """One way an invocation may go, with its share in percent."""

    version: Version
    weight: int


Routes = Sequence[WeightedVersion]
"""One version with weight 100, or several whose weights are 100 together."""


class RouteKey(NamedTuple):
    """What a caller asks for: a tenant's function, and an alias or a version's number."""

    tenant: str
    function: str
    qualifier: str


def choose(routes: Routes, point: float) -> WeightedVersion:
    """The way at `point`, from 0 up to but not including 1, of the line that the weights divide.

    Raises:
        ValueError: There are no routes.
    """
    if not routes:
        raise ValueError("no routes to choose from")
    rest = point * sum(route.weight for route in routes)
    for route in routes:
        rest -= route.weight
        if rest < 0:
            return route
    return routes[-1]


@dataclass(slots=True)
class _Kept:
    routes: Routes
    watch: int
    """During which watch they were resolved; 0 while there was none."""
    confirmed_s: float
    """Until when they were certainly right."""


class RouteCache:
    """Resolved routes, bounded in number. What is over the bound goes, the longest kept first."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._functions: dict[tuple[str, str], dict[str, _Kept]] = {}
        self._watches = 0
        self._is_watching = False

    @property
    def watch(self) -> int:
        """Which watch runs now, 0 for none; to be read before resolving, and given to `keep` after."""
        return self._watches if self._is_watching else 0

    def confirmed(self, key: RouteKey) -> Routes | None:
        """The routes that are certainly right; None where there are none such."""
        if not self._is_watching:
            return None
        kept = self._functions.get((key.tenant, key.function), {}).get(key.qualifier)
        return kept.routes if kept is not None and kept.watch == self._watches else None

    def unconfirmed(self, key: RouteKey, now_s: float) -> Routes | None:
        """The routes that were right not too long ago, and that nobody is known to have changed."""
        kept = self._functions.get((key.tenant, key.function), {}).get(key.qualifier)
        return kept.routes if kept is not None and now_s - kept.confirmed_s <= self._stale_s else None

    def keep(self, key: RouteKey, routes: Routes, watch: int, now_s: float) -> None:
        """Remembers routes that were resolved just now.

        Args:
            key: What they are the routes of.
            routes: The routes.
            watch: The watch that ran when resolving began.
            now_s: The time.
        """
        of_function = self._functions.setdefault((key.tenant, key.function), {})
        of_function.pop(key.qualifier, None)
        of_function[key.qualifier] = _Kept(routes, watch, now_s)
        if len(of_function) > MAX_QUALIFIERS_PER_FUNCTION:
            del of_function[next(iter(of_function))]
        if len(self._functions) > MAX_FUNCTIONS:
            del self._functions[next(iter(self._functions))]

    def forget(self, tenant: str, function: str) -> None:
        """Forgets a function's routes, which have changed."""
        self._functions.pop((tenant, function), None)

    def watch_began(self) -> None:
        """Says that changes are told of from now on. What was resolved before is unconfirmed."""
        self._watches += 1
        self._is_watching = True

    def watch_lost(self, now_s: float) -> None:
        """Says that changes are not told of any more."""
        if not self._is_watching:
            return
        self._is_watching = False
        for of_function in self._functions.values():
            for kept in of_function.values():
                if kept.watch == self._watches:
                    kept.confirmed_s = now_s
