"""The life of an invocation: find the version, find a container, run it there, let the container go.

A warm one asks nobody but the host: the route is remembered and a lease is at hand.
"""

import asyncio
import math
import uuid
from dataclasses import dataclass
from typing import Protocol

import structlog
from stoker_service.errors import StokerError
from stoker_service.telemetry import traceparent

from stoker_frontend import errors
from stoker_frontend.lease_pool import Lease
from stoker_frontend.lease_source import Grant, LoadFailure
from stoker_frontend.leases import Leases
from stoker_frontend.outcomes import Outcomes, Way
from stoker_frontend.rollovers import Found, Rollovers
from stoker_frontend.routes import ALL, RolloverRule, RouteKey, Version, WeightedVersion
from stoker_frontend.routing import Router
from stoker_frontend.runs import TIMEOUT, Expired, Finished, FunctionFailure, Lost, NothingRan, Order, Outcome, Start
from stoker_frontend.tracing import part

log = structlog.get_logger()

ATTEMPTS = 4
"""How many containers are tried when one after the other turns out to be gone before anything ran."""
MARGIN_S = 0.02
"""How long before the caller's deadline it is answered, in seconds, so that the answer still arrives."""
OVERDUE_S = 10.0
"""How long after a version's timeout its host may be silent, in seconds, before the run is given up."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a caller wants run."""

    route: RouteKey
    payload: bytes
    content_type: str
    log_tail: bool
    session_key: str = ""
    """Whose session it is, which stays with one version of a weighted alias; empty for none."""


@dataclass(frozen=True, slots=True)
class RolloverEffect:
    """What a rollover meant for an invocation."""

    target: Version
    """What was asked for."""
    rule: RolloverRule
    differing_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an invocation, and where its time went, in milliseconds."""

    invocation_id: str
    version: Version
    """What ran: the version that was asked for, or one before it."""
    lease: Lease | None
    """Where it ran; None where the code could not be loaded."""
    start: Start
    finished: Finished
    queue_ms: float
    init_ms: float
    total_ms: float
    rollover: RolloverEffect | None = None
    """Set where the version that was asked for was not at hand, and there was one before it."""


class RunningCall(Protocol):
    """One run on its way to a host or there."""

    ended: "asyncio.Future[Outcome]"

    def stop(self) -> bool:
        """Stops the run; returns whether the order had left for the host."""
        ...

    def expire(self) -> None:
        """Stops the run and lets it end as `Expired`."""
        ...


class Hosts(Protocol):
    """Where orders are sent."""

    def start(self, host: str, address: str, order: Order) -> RunningCall:
        """Sends an order to a host.

        Raises:
            StokerError: HOST_BUSY; nothing was sent.
        """
        ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the caller stops waiting, by the loop's clock."""

    answer_s: float
    """When it is to be answered at the latest."""
    end_s: float
    """When it is gone."""


@dataclass(frozen=True, slots=True)
class _Expiry:
    """When a run is given up."""

    at_s: float
    is_harmless: bool
    """Whether its container is as good as before then."""


def deadline_after(now_s: float, remaining_s: float | None) -> Deadline | None:
    """The deadline of a caller that waits for another `remaining_s`; None where it waits for ever."""
    if remaining_s is None:
        return None
    return Deadline(now_s + remaining_s - min(MARGIN_S, remaining_s / 4), now_s + remaining_s)


def _may_have_run(error: StokerError | asyncio.CancelledError) -> bool:
    """Whether the function may have run, and so have caused that there is no answer, or that nobody waited for one."""
    match error:
        case StokerError():
            return error.reason == "CONTAINER_LOST" or error.metadata.get("phase") == "run"
        case _:
            return True


class Invocations:
    """Runs invocations, up to a number at once."""

    def __init__(
        self,
        router: Router,
        leases: Leases,
        rollovers: Rollovers,
        hosts: Hosts,
        outcomes: Outcomes,
        max_running: int,
    ) -> None:
        self._router = router
        self._leases = leases
        self._rollovers = rollovers
        self._outcomes = outcomes
        self._hosts = hosts
        self._max_running = max_running
        self._running = 0

    async def invoke(self, invocation: Invocation, remaining_s: float | None) -> Answered:
        """Runs an invocation for a caller that waits for another `remaining_s`; None for one that waits for ever.

        Raises:
            StokerError: Why it was not run, or that its end is not known (CONTAINER_LOST).
        """
        if self._running >= self._max_running:
            raise errors.too_many_invocations(self._max_running)
        self._running += 1
        try:
            return await self._invoke(invocation, remaining_s)
        finally:
            self._running -= 1

    async def _invoke(self, invocation: Invocation, remaining_s: float | None) -> Answered:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        deadline = deadline_after(begun_s, remaining_s)
        invocation_id = uuid.uuid4().hex
        with part("route"):
            route = self._router.remembered(invocation.route, invocation.session_key)
            if route is None:
                route = await self._route(invocation, deadline)
        target = route.version
        for attempt in range(ATTEMPTS):
            with part("acquire"):
                # Where one idle lease was stale the others may be too, so that the scheduler is asked then.
                lease = self._leases.take(target.uid) if attempt == 0 else None
                found = (
                    Found(target, Grant(lease, Start.WARM))
                    if lease is not None
                    else await self._rollovers.find(
                        target,
                        deadline.answer_s if deadline else None,
                        may_take=attempt == 0,
                        is_bound=bool(invocation.session_key) and route.weight != ALL,
                    )
                )
            version = found.version
            waited_ms = (loop.time() - begun_s) * 1000
            match found.answer:
                case LoadFailure(failure, start, init_ms):
                    container, finished = None, Finished(b"", "", failure, 0.0, b"", is_container_lost=True)
                case Grant(container, start, init_ms):
                    try:
                        with part("invoke"):
                            finished = await self._run(invocation, invocation_id, version, container, deadline)
                    except (StokerError, asyncio.CancelledError) as error:
                        if _may_have_run(error):
                            self._count(invocation, route, version, None, start)
                        raise
            if isinstance(finished, NothingRan):
                log.info("lease.stale", invocation_id=invocation_id, reason=finished.reason)
                continue
            self._count(invocation, route, version, finished, start)
            return Answered(
                invocation_id,
                version,
                container,
                start,
                finished,
                max(0.0, waited_ms - init_ms),
                init_ms,
                (loop.time() - begun_s) * 1000,
                RolloverEffect(target, found.rule, found.differing_fields) if found.rule else None,
            )
        raise errors.leases_stale(ATTEMPTS)

    def _count(
        self,
        invocation: Invocation,
        route: WeightedVersion,
        version: Version,
        finished: Finished | None,
        start: Start,
    ) -> None:
        """Counts a call that may have run, unless another version answered, or there is none to compare with."""
        if route.weight == ALL or version.uid != route.version.uid:
            return
        way = Way(invocation.route, version.uid, route.weight)
        if finished is None or finished.failure is not None:
            self._outcomes.failed(way)
        else:
            self._outcomes.succeeded(way, finished.run_ms, is_warm=start is Start.WARM)

    async def _route(self, invocation: Invocation, deadline: Deadline | None) -> WeightedVersion:
        try:
            async with asyncio.timeout_at(deadline.answer_s if deadline else None):
                return await self._router.route(invocation.route, invocation.session_key)
        except TimeoutError as error:
            raise errors.deadline_exceeded("queue") from error

    async def _run(
        self, invocation: Invocation, invocation_id: str, version: Version, lease: Lease, deadline: Deadline | None
    ) -> Finished | NothingRan:
        """Runs an invocation in a leased container, and lets go of the lease."""
        now_s = asyncio.get_running_loop().time()
        left_s = math.inf if deadline is None else max(0.001, deadline.end_s - now_s)
        overdue_s = now_s + version.timeout_s + OVERDUE_S
        order = Order(
            lease.id,
            lease.container,
            invocation_id,
            math.ceil(min(version.timeout_s, left_s) * 1000),
            invocation.payload,
            invocation.content_type,
            invocation.log_tail,
            traceparent(),
        )
        is_callers = deadline is not None and deadline.answer_s <= overdue_s
        expiry = _Expiry(
            deadline.answer_s if deadline is not None and is_callers else overdue_s,
            # Where others run in the container, the host stops this one alone.
            is_harmless=is_callers and version.concurrency > 1,
        )
        outcome = await self._send(lease, order, expiry, is_alone=version.concurrency == 1)
        match outcome:
            case Finished(failure=FunctionFailure(kind=kind)) if kind == TIMEOUT and left_s < version.timeout_s:
                # The host was told the caller's deadline as a timeout, and was quicker than the frontend's own clock.
                raise errors.deadline_exceeded("run")
            case Finished() | NothingRan():
                return outcome
            case Lost(message):
                log.warning("container.lost", invocation_id=invocation_id, container=lease.container, message=message)
                raise errors.container_lost(message)
            case Expired(was_sent):
                if is_callers:
                    raise errors.deadline_exceeded("run" if was_sent else "queue")
                raise errors.container_lost(f"host {lease.host} was silent for {OVERDUE_S:g} s after the timeout")

    async def _send(self, lease: Lease, order: Order, expiry: "_Expiry", *, is_alone: bool) -> Outcome:
        if expiry.at_s <= asyncio.get_running_loop().time():
            # Stopping what has just been sent would cost the container.
            self._leases.give_back(lease)
            return Expired(was_sent=False)
        is_broken = False
        is_stale = False
        try:
            call = self._hosts.start(lease.host, lease.host_address, order)
            timer = asyncio.get_running_loop().call_at(expiry.at_s, call.expire)
            try:
                outcome = await call.ended
            except asyncio.CancelledError:
                is_broken = call.stop() and is_alone
                raise
            finally:
                timer.cancel()
            is_stale = isinstance(outcome, NothingRan)
            match outcome:
                case Finished(is_container_lost=is_broken):
                    pass
                case Expired(was_sent):
                    is_broken = was_sent and not expiry.is_harmless
                case _:
                    is_broken = isinstance(outcome, Lost)
            return outcome
        finally:
            if is_broken or is_stale:
                self._leases.drop(lease, is_broken=is_broken)
            else:
                self._leases.give_back(lease)
