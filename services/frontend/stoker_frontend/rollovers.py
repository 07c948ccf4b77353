"""Containers for requests of which the version is not at hand: found, or made, by the rules of `rollover.py`."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog
from stoker_service.background import Background
from stoker_service.errors import StokerError

from stoker_frontend.lease_source import Grant, LoadFailure
from stoker_frontend.leases import Leases
from stoker_frontend.rollover import Serve, Wait, decide, may_prepare, replaced, rest_s
from stoker_frontend.routes import RolloverRule, Version
from stoker_frontend.runs import FunctionFailure, Start

log = structlog.get_logger()

MAX_KNOWN = 10_000
REFUSED_REST_S = 0.5
"""For how long no container is made in the background after the scheduler would not give one, in seconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of looking for a container."""

    version: Version
    """Whose container it is."""
    answer: Grant | LoadFailure
    rule: RolloverRule | None = None
    """What the rollover meant; None where this was none."""
    differing_fields: tuple[str, ...] = ()


class BackgroundSource(Protocol):
    """Where containers come from that nobody waits for: the scheduler."""

    async def acquire_in_background(self, version: Version, wait_s: float) -> Grant | LoadFailure:
        """Leases a container, made with less haste than others, waiting up to `wait_s`; raises StokerError."""
        ...

    async def acquire_idle(self, version: Version) -> Grant | None:
        """Leases a container that is idle now, within a bounded time; raises StokerError."""
        ...


class LoadReports(Protocol):
    """Who is told how loading went: the codestore."""

    async def report_load(
        self, version_uid: str, failure: FunctionFailure | None, failures: int, retry_s: float
    ) -> None:
        """Tells it, within a bounded time; raises StokerError."""
        ...


@dataclass(slots=True)
class _Known:
    """What is known of the loading of one version."""

    preparing: int = 0
    failures: int = 0
    last_failure: LoadFailure | None = None
    rests_until_s: float = 0.0
    was_loaded: bool = False


class Rollovers:
    """Finds containers for requests of which the version is not at hand."""

    def __init__(
        self,
        leases: Leases,
        source: BackgroundSource,
        reports: LoadReports,
        background: Background,
        *,
        wait_s: float,
        max_preparing: int,
    ) -> None:
        """Begins without knowing any version.

        Args:
            leases: The leases.
            source: Where containers come from that nobody waits for.
            reports: Who is told how loading went.
            background: What owns the making and telling.
            wait_s: How long such a container is waited for, in seconds.
            max_preparing: How many of one version are made at once at the most.
        """
        self._leases = leases
        self._source = source
        self._reports = reports
        self._background = background
        self._wait_s = wait_s
        self._max_preparing = max_preparing
        self._known: dict[str, _Known] = {}
        self._probing: set[str] = set()

    async def find(self, target: Version, deadline_s: float | None, *, may_take: bool, is_bound: bool = False) -> Found:
        """Finds a container for a request, waiting up to the caller's deadline (by the loop's clock).

        Args:
            target: The version that is asked for, of which no container is at hand.
            deadline_s: When the caller stops waiting.
            may_take: Whether leases that are at hand may be used; not where one turned out to be stale.
            is_bound: Whether the request belongs to a session, which stays with its version.

        Raises:
            StokerError: As `Leases.wait`.
        """
        decision = self._decide(target, is_bound=is_bound)
        if isinstance(decision, Wait):
            answer = await self._leases.wait(target, deadline_s)
            self._note(target, answer)
            found = Found(target, answer, decision.rule, decision.differing_fields)
        else:
            found = await self._serve(target, decision, deadline_s, may_take=may_take)
        if found.version is target and isinstance(found.answer, LoadFailure):
            # Nobody gets an error for it while a version before can answer.
            decision = self._decide(target, is_bound=is_bound)
            if isinstance(decision, Serve) and decision.may_start:
                return await self._serve(target, decision, deadline_s, may_take=may_take)
        return found

    def is_failing(self, version_uid: str) -> bool:
        """Whether the last attempt of this frontend to load a version failed."""
        known = self._known.get(version_uid)
        return known is not None and known.failures > 0

    def _decide(self, target: Version, *, is_bound: bool) -> Serve | Wait:
        known = self._known.get(target.uid)
        return decide(
            target,
            _now_s(),
            is_failing=known is not None and known.failures > 0,
            was_loaded=known is not None and known.was_loaded,
            is_bound=is_bound,
        )

    async def _serve(self, target: Version, decision: Serve, deadline_s: float | None, *, may_take: bool) -> Found:
        if grant := await self._at_hand(decision, may_take=may_take):
            self._prepare(target)
            return _found(grant, decision)
        if decision.may_start:
            self._prepare(target)
            first = decision.versions[0]
            return Found(first, await self._leases.wait(first, deadline_s), decision.rule)
        answer = await self._leases.wait(target, deadline_s, instead=decision.versions)
        if isinstance(answer, Grant) and answer.lease.version_uid != target.uid:
            self._prepare(target)
            return _found(answer, decision)
        self._note(target, answer)
        return Found(target, answer, RolloverRule.WAITED_AS_NONE_FREE)

    async def _at_hand(self, decision: Serve, *, may_take: bool) -> Grant | None:
        """A container of one of the versions that is free now."""
        for version in decision.versions:
            if may_take and (lease := self._leases.take(version.uid)):
                return Grant(lease, Start.WARM)
        for version in decision.versions:
            if grant := await self._idle_elsewhere(version):
                return grant
        return None

    async def _idle_elsewhere(self, version: Version) -> Grant | None:
        """A container that another frontend, or this one long ago, is done with. One request at a time asks for it."""
        if version.uid in self._probing:
            return None
        self._probing.add(version.uid)
        try:
            grant = await self._source.acquire_idle(version)
        except StokerError as error:
            log.info("rollover.none_idle", version=version.uid, reason=error.reason)
            return None
        finally:
            self._probing.discard(version.uid)
        if grant is not None:
            self._leases.use(grant)
        return grant

    def _prepare(self, target: Version) -> None:
        """Has a container of a version made in the background, unless enough are, or it rests.

        Where deploys follow each other more quickly than versions load, one is loaded after the other, and those that
        have been overtaken meanwhile are not: all at once would be in each other's way.
        """
        known = self._of(target)
        if any(self._is_preparing(previous.version.uid) for previous in target.previous):
            return
        held = self._leases.count(target.uid)
        if _now_s() < known.rests_until_s or not may_prepare(known.preparing, held, self._max_preparing):
            return
        known.preparing += 1
        task = self._background.start(self._make(target), f"prepare {target.uid}")
        task.add_done_callback(lambda _: self._made(known))

    def _is_preparing(self, version_uid: str) -> bool:
        known = self._known.get(version_uid)
        return known is not None and known.preparing > 0

    def _made(self, known: _Known) -> None:
        known.preparing -= 1

    async def _make(self, target: Version) -> None:
        try:
            answer = await self._source.acquire_in_background(target, self._wait_s)
        except StokerError as error:
            log.warning("rollover.not_prepared", version=target.uid, reason=error.reason, message=error.message)
            self._of(target).rests_until_s = _now_s() + REFUSED_REST_S
            return
        self._note(target, answer)
        if isinstance(answer, Grant):
            self._leases.adopt(answer)
            # One comes and one goes, so that there are no more than are needed.
            self._leases.retire(replaced(target), 1)

    def _note(self, target: Version, answer: Grant | LoadFailure) -> None:
        """Notes how an attempt to load a version ended, and tells the codestore where that is news."""
        known = self._of(target)
        match answer:
            case LoadFailure():
                # All who waited for the attempt are told of it.
                if known.last_failure is answer or (known.failures and _now_s() < known.rests_until_s):
                    return
                known.last_failure = answer
                known.failures += 1
                known.rests_until_s = _now_s() + rest_s(known.failures)
                log.warning("version.load_failed", version=target.uid, failures=known.failures)
                self._report(target, known.failures, answer.failure)
            case Grant():
                is_news = known.failures > 0 or (bool(target.previous) and not known.was_loaded)
                known.failures, known.last_failure, known.was_loaded = 0, None, True
                if is_news:
                    self._report(target, 0, None)

    def _report(self, target: Version, failures: int, failure: FunctionFailure | None) -> None:
        retry_s = rest_s(failures) if failure else 0.0
        self._background.start(self._tell(target, failure, failures, retry_s), f"report {target.uid}")

    async def _tell(self, target: Version, failure: FunctionFailure | None, failures: int, retry_s: float) -> None:
        try:
            await self._reports.report_load(target.uid, failure, failures, retry_s)
        except StokerError as error:
            # The next attempt is told of too.
            log.warning("load.not_reported", version=target.uid, reason=error.reason)

    def _of(self, target: Version) -> _Known:
        known = self._known.get(target.uid)
        if known is None:
            known = self._known[target.uid] = _Known()
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return known


def _found(grant: Grant, decision: Serve) -> Found:
    version = next(version for version in decision.versions if version.uid == grant.lease.version_uid)
    return Found(version, grant, decision.rule)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
