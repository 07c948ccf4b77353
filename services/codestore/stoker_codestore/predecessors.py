"""Which versions may answer for an alias until the one that it points to has been loaded.

They are those that it pointed to before, the last one first. Everything here is a function of its arguments.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum

from stoker_codestore.alias_history import AliasChange
from stoker_codestore.rollover_terms import RolloverPolicy, Terms
from stoker_codestore.versions import Configuration, Version

MOST = 8
"""How many versions may answer for one at the most."""

_NOT_SEEN = frozenset({"artifact_sha256", "description", "layers", "signature"})
"""What may differ in versions of which one answers for the other. Callers can see all else that is configured."""


class Hindrance(Enum):
    """Why a version may not answer for another."""

    POLICY = "policy"
    DIFFERENT = "different"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A version, by its number, that an alias pointed to before another."""

    number: int
    replaced_time: datetime
    """When it was replaced."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A version that an alias pointed to before another."""

    version: Version
    until: datetime
    """Until when it may answer for the other; while that fails to load it may for longer."""
    hindrance: Hindrance | None
    """Why it may not at all."""
    differences: tuple[str, ...]
    """In which fields of its configuration callers can see that it is not the other."""


def earlier_than(target: int, changes: Iterable[AliasChange]) -> Sequence[Earlier]:
    """The versions that an alias pointed to before one of those that it points to, the one replaced last first.

    A version that it still points to, beside the target, was replaced when the target came.

    Args:
        target: The number of a version that the alias points to.
        changes: The alias's changes, the newest first.
    """
    found: dict[int, Earlier] = {}
    has_come = False
    for change in changes:
        before = [share.version for share in change.before]
        after = [share.version for share in change.after]
        is_coming = not has_come and target in after and target not in before
        has_come |= is_coming
        for number in before:
            if number != target and (is_coming or number not in after):
                found.setdefault(number, Earlier(number, change.time))
    return sorted(found.values(), key=lambda each: each.replaced_time, reverse=True)


def predecessor(target: Version, version: Version, replaced_time: datetime, terms: Terms) -> Predecessor:
    """What an earlier version may do for `target`."""
    differences = visible_differences(target.configuration, version.configuration)
    hindrance = None
    if terms.policy is RolloverPolicy.WAIT_FOR_NEW:
        hindrance = Hindrance.POLICY
    elif version.number > target.number:
        hindrance = Hindrance.ROLLED_BACK
    elif differences:
        hindrance = Hindrance.DIFFERENT
    until = replaced_time + timedelta(seconds=terms.max_staleness_s)
    return Predecessor(version, until, hindrance, differences)


def visible_differences(one: Configuration, other: Configuration) -> tuple[str, ...]:
    """The fields in which callers can see that two configurations differ."""
    return tuple(
        field.name
        for field in fields(Configuration)
        if field.name not in _NOT_SEEN and getattr(one, field.name) != getattr(other, field.name)
    )


def relevant(found: Sequence[Predecessor], now: datetime, *, is_loaded: bool) -> Sequence[Predecessor]:
    """Those that may still matter: once the target has been loaded, none whose time is over."""
    return [each for each in found if not is_loaded or now < each.until][:MOST]
