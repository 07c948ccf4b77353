"""Which version answers while the one that an alias points to is being loaded.

A request for an alias gets a container of the version that the alias points to, if one is at hand. Otherwise a version
before it may answer, while the new one is loaded in the background: for a bounded time, and for as long as the new one
fails to load. Everything here is a function of its arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stoker_frontend.routes import Previous, RolloverRule, Version

FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
"""After a version failed to load it is not tried for a second, twice as long with each failure in a row."""


@dataclass(frozen=True, slots=True)
class Serve:
    """One of these may answer, preferably the first."""

    versions: tuple[Version, ...]
    rule: RolloverRule
    may_start: bool
    """Whether a container of the first may be made for it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The request waits for the version that it asks for."""

    rule: RolloverRule | None
    """Why no version before may answer; None where this is no rollover."""
    differing_fields: tuple[str, ...] = ()


def decide(
    target: Version, now_s: float, *, is_failing: bool, was_loaded: bool, is_bound: bool = False
) -> Serve | Wait:
    """What a request does for which no container of its version is at hand.

    Args:
        target: The version that it asks for. One that was asked for by number has none before it.
        now_s: The time, by the clock of `Previous.until_s`.
        is_failing: Whether the last attempt to load it failed.
        was_loaded: Whether it has ever been loaded here.
        is_bound: Whether it belongs to a session, which stays with its version unless that fails to load.
    """
    able = [each for each in target.previous if each.hindrance is None]
    if is_failing and able:
        return Serve(_versions(able), RolloverRule.SERVED_WHILE_FAILING, may_start=True)
    if not is_bound and (fresh := [each for each in able if now_s < each.until_s]):
        return Serve(_versions(fresh), RolloverRule.SERVED_WHILE_LOADING, may_start=False)
    if is_bound or was_loaded or not target.previous:
        return Wait(None)
    if able:
        return Wait(RolloverRule.WAITED_AS_STALE)
    last = target.previous[0]
    return Wait(last.hindrance, last.differing_fields)


def replaced(target: Version) -> tuple[str, ...]:
    """The uids of the versions that are needed no more once the target has been loaded, the longest replaced first."""
    return tuple(each.version.uid for each in reversed(target.previous) if not each.is_needed)


def may_prepare(preparing: int, held: int, most: int) -> bool:
    """Whether one more container of a new version may be made in the background.

    There are as many at once as there are containers of it already, so that it takes over in few steps, and a version
    that fails to load is tried once.
    """
    return preparing < min(max(1, held), most)


def rest_s(failures: int) -> float:
    """For how long a version rests that has failed to load so often in a row, in seconds."""
    return min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(failures - 1, 16))


def answering(target: Version, loaded: Mapping[int, int], now_s: float, *, is_failing: bool) -> int:
    """The number of the version that answers requests for `target` now; 0 where the next one has to wait.

    Args:
        target: What an alias points to.
        loaded: How many containers have each version loaded, by number.
        now_s: The time.
        is_failing: Whether the last attempt to load the target failed.
    """
    if loaded.get(target.number):
        return target.number
    match decide(target, now_s, is_failing=is_failing, was_loaded=False):
        case Serve(versions, may_start=may_start):
            warm = [version.number for version in versions if loaded.get(version.number)]
            if warm:
                return warm[0]
            return versions[0].number if may_start else 0
        case Wait():
            return 0


def _versions(previous: list[Previous]) -> tuple[Version, ...]:
    return tuple(each.version for each in previous)
