"""A version's code on its way to hosts, as `watch_delivery` tells of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class DeliveryState(StrEnum):
    """How far the delivery to one host is."""

    UNKNOWN = "unknown"
    """What a later server tells."""
    WAITING = "waiting"
    """It waits until it can be fetched from a host that has it."""
    FETCHING = "fetching"
    DELIVERED = "delivered"
    """It is there, verified, and ready to be loaded."""
    FAILED = "failed"
    """It could not be fetched; the host fetches it when a container needs it."""


@dataclass(frozen=True, slots=True)
class HostDelivery:
    """How the delivery to one host stands."""

    host: str
    state: DeliveryState
    source: str
    """The host it is fetched from; empty for the codestore."""
    lacking_bytes: int
    """How much the host lacked; 0 until it is known, and where it lacked nothing."""
    fetched_bytes: int
    message: str
    """Why the last attempt failed; empty where none has."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the delivery of a version stands."""

    hosts: Sequence[HostDelivery]
    is_complete: bool
    """Whether no host is still to get it."""
