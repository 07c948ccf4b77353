"""Whether the parts of Stoker answer, found out through the frontend alone, so that it works from anywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.client import Client
from stoker.errors import ConfigurationError, PermissionDenied, StokerError, Unauthenticated, Unavailable
from stoker.models import Fleet

SERVING = "serving"
AWAY = "away"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service, as far as it can be seen."""

    service: str
    state: str
    """`serving`, `away` or `unknown`."""
    detail: str
    """Where it is, or why it is not known to serve."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to see of one moment."""

    services: Sequence[ServiceState]
    fleet: Fleet | None
    """None where the scheduler did not tell."""

    @property
    def is_well(self) -> bool:
        """Whether every service serves, and there is a host."""
        return all(each.state == SERVING for each in self.services)


def survey(client: Client) -> Survey:
    """Asks each service something small."""
    fleet: list[Fleet] = []
    codestore = _ask(lambda: next(client.list_functions(), None))
    scheduler = _ask(lambda: fleet.append(client.get_fleet()))
    frontend = _frontend(client.endpoint, codestore, scheduler)
    services = [
        frontend,
        ServiceState("codestore", *_behind(frontend, codestore, "CODESTORE_UNAVAILABLE")),
        ServiceState("scheduler", *_behind(frontend, scheduler, "SCHEDULER_UNAVAILABLE")),
        _hosts(fleet[0] if fleet else None),
    ]
    return Survey(services, fleet[0] if fleet else None)


def _ask(question: Callable[[], Any]) -> StokerError | None:
    """The error that a question is answered with; None for a good answer."""
    try:
        question()
    except StokerError as error:
        return error
    return None


def _frontend(endpoint: str, *answers: StokerError | None) -> ServiceState:
    for error in answers:
        if error is not None and error.reason in ("UNREACHABLE", "CONNECTION_LOST"):
            return ServiceState("frontend", AWAY, error.message)
    if all(isinstance(error, ConfigurationError) for error in answers):
        return ServiceState("frontend", UNKNOWN, "there is no key to ask with")
    return ServiceState("frontend", SERVING, endpoint)


def _behind(frontend: ServiceState, error: StokerError | None, away_reason: str) -> tuple[str, str]:
    if frontend.state == AWAY:
        return UNKNOWN, "the frontend does not answer"
    match error:
        case None:
            return SERVING, ""
        case Unavailable(reason=reason) if reason == away_reason:
            return AWAY, error.message
        case ConfigurationError() | Unauthenticated() | PermissionDenied():
            return UNKNOWN, error.message
        case _:
            return AWAY, error.message


def _hosts(fleet: Fleet | None) -> ServiceState:
    if fleet is None:
        return ServiceState("hostagent", UNKNOWN, "the scheduler did not tell")
    if not fleet.hosts:
        return ServiceState("hostagent", AWAY, "no host is connected; see the host agent's log")
    return ServiceState("hostagent", SERVING, f"{len(fleet.hosts)} connected")
