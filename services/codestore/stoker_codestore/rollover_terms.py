"""What is set for a function's rollovers: what answers while a new version is being loaded."""

from dataclasses import dataclass
from enum import Enum

DEFAULT_STALENESS_S = 60


class RolloverPolicy(Enum):
    """What answers while a version is being loaded."""

    SERVE_PREVIOUS = "serve_previous"
    WAIT_FOR_NEW = "wait_for_new"


@dataclass(frozen=True, slots=True)
class Terms:
    """When versions before may answer."""

    policy: RolloverPolicy = RolloverPolicy.SERVE_PREVIOUS
    max_staleness_s: int = DEFAULT_STALENESS_S
