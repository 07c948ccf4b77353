"""What calls of rollovers return: how an alias stands while the version that it points to is being loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoker.models import FunctionError


class RolloverPolicy(StrEnum):
    """What answers while a version that an alias was pointed to is being loaded."""

    UNKNOWN = "unknown"
    SERVE_PREVIOUS = "serve_previous"
    """The version before, if it differs by its code only."""
    WAIT_FOR_NEW = "wait_for_new"
    """Nothing: requests wait."""


class RolloverRule(StrEnum):
    """What a rollover meant for a request, or what a version before may not do."""

    UNKNOWN = "unknown"
    SERVED_WHILE_LOADING = "served_while_loading"
    SERVED_WHILE_FAILING = "served_while_failing"
    WAITED_BY_POLICY = "waited_by_policy"
    WAITED_AS_STALE = "waited_as_stale"
    WAITED_AS_DIFFERENT = "waited_as_different"
    WAITED_AS_ROLLED_BACK = "waited_as_rolled_back"
    WAITED_AS_NONE_FREE = "waited_as_none_free"


@dataclass(frozen=True, slots=True)
class RolloverEffect:
    """What a rollover meant for an invocation."""

    target_version: int
    """The version that the alias points to."""
    rule: RolloverRule
    differing_fields: Sequence[str]
    """In what callers can see that the version before is another, where it may not answer for that."""


@dataclass(frozen=True, slots=True)
class RolloverTarget:
    """A version that an alias points to."""

    version: int
    weight: int
    """Its share of the requests in percent."""
    loaded: int
    """How many containers have it loaded."""
    answering_version: int
    """The version that answers its requests now; 0 where the next one waits until a container is loaded."""


@dataclass(frozen=True, slots=True)
class PreviousVersion:
    """A version that an alias pointed to before."""

    version: int
    loaded: int
    remaining_s: float
    """For how long it may still answer, in seconds; while what replaced it fails to load it may for longer."""
    rule: RolloverRule | None
    """Why it may not answer at all; None where it may."""
    differing_fields: Sequence[str]


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """That a version could not be loaded when it was tried last."""

    version: int
    error: "FunctionError"
    failures: int
    """How often in a row."""
    time: datetime
    retry_time: datetime
    """The first request after this has it tried again."""


@dataclass(frozen=True, slots=True)
class Rollover:
    """How an alias stands."""

    function: str
    alias: str
    targets: Sequence[RolloverTarget]
    previous: Sequence[PreviousVersion]
    policy: RolloverPolicy
    max_staleness_s: int
    load_failure: LoadFailure | None
    is_usage_known: bool
    """Whether it is known what is loaded; it is not while the scheduler is away."""
