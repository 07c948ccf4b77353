"""Containers that are kept loaded although nobody uses them: provisioned concurrency.

They are placed as demands are, but after those, and come under no lease. Neither keep-alive nor eviction ends them.
Which containers they are is told by a mark: as many of a version as are to be kept, those that are there first. When an
alias moves, the new version's come first, and only when all of those are loaded the old version's end, each as soon as
it is under no lease. Where there is no room for all there are fewer, and they are tried again and again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from stoker_scheduler.dispatch import Dispatcher
from stoker_scheduler.keep_alive import Ending
from stoker_scheduler.machines import Container, ContainerState, FunctionKey, Version
from stoker_scheduler.targets import Provisioned, Targets

log = structlog.get_logger()

AT_ONCE = 20
"""How many containers are begun in the whole fleet at one time."""
FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
"""After a container could not be made no other of its version is, for a second, twice as long with each in a row."""


@dataclass(slots=True)
class Plan:
    """What is to be done."""

    make: list[Container] = field(default_factory=list[Container])
    """Containers that the fleet has as being created."""
    end: list[str] = field(default_factory=list[str])
    """Containers that are needed no more."""
    make_room: list[Ending] = field(default_factory=list[Ending])
    """What makes way for others; the fleet has it as ending."""


class Provisioning:
    """Keeps as many containers of each version as are to be kept."""

    def __init__(self, dispatcher: Dispatcher, targets: Targets) -> None:
        """Begins without any.

        Args:
            dispatcher: What places them.
            targets: How many are to be kept.
        """
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._targets = targets
        self._marked: dict[FunctionKey, None] = {}
        """Functions that have marked containers, or had when they were last looked at."""
        self._rests: dict[str, tuple[int, float]] = {}
        """Versions that rest: how often they failed in a row, and until when."""
        self._lacking: set[FunctionKey] = set()

    def plan(self, now_s: float) -> Plan:
        """What to do now. Containers that it makes are in the fleet from then on."""
        plan = Plan()
        for function in {**dict.fromkeys(self._targets.provisioned()), **self._marked}:
            self._see_to(function, now_s, plan)
        return plan

    def made(self, version_uid: str) -> None:
        """Notes that a container of a version was made."""
        self._rests.pop(version_uid, None)

    def failed(self, version_uid: str, now_s: float) -> None:
        """Notes that a container of a version could not be made."""
        failures = self._rests.get(version_uid, (0, 0.0))[0] + 1
        rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(failures - 1, 16))
        self._rests[version_uid] = (failures, now_s + rest_s)

    def _see_to(self, function: FunctionKey, now_s: float, plan: Plan) -> None:
        provisioned = self._targets.of(function).provisioned
        there: defaultdict[str, list[Container]] = defaultdict(list)
        for container in self._fleet.lists.of_function(function):
            if container.state is not ContainerState.ENDING:
                there[container.version.uid].append(container)
        is_complete = True
        for wanted in provisioned:
            loaded = self._keep(there.pop(wanted.version.uid, []), wanted.containers)
            if loaded < wanted.containers:
                is_complete = False
                self._add(wanted, self._going(function, provisioned), now_s, plan)
        self._note_lack(function, is_lacking=not is_complete)
        for containers in there.values():
            marked = [container for container in containers if container.is_provisioned]
            self._retire(marked, plan, is_replaced=bool(provisioned), is_complete=is_complete)
        is_marked = any(container.is_provisioned for container in self._fleet.lists.of_function(function))
        if is_marked:
            self._marked[function] = None
        else:
            self._marked.pop(function, None)

    def _keep(self, containers: Sequence[Container], count: int) -> int:
        """Marks so many of a version's containers, those that are marked first; returns how many of them are loaded."""
        ranked = sorted(containers, key=lambda container: (not container.is_provisioned, container.id))
        for number, container in enumerate(ranked):
            self._mark(container, is_provisioned=number < count)
        return sum(container.state is not ContainerState.CREATING for container in ranked[:count])

    def _going(self, function: FunctionKey, provisioned: Sequence[Provisioned]) -> frozenset[str]:
        """The versions of a function whose containers were to be kept before, and make way for others."""
        kept = {wanted.version.uid for wanted in provisioned}
        return frozenset(
            container.version.uid
            for container in self._fleet.lists.of_function(function)
            if container.is_provisioned and container.version.uid not in kept
        )

    def _add(self, wanted: Provisioned, going: frozenset[str], now_s: float, plan: Plan) -> None:
        """Begins those of a version that are missing, as far as there is room and nobody waits for it."""
        version = wanted.version
        if now_s < self._rests.get(version.uid, (0, 0.0))[1]:
            return
        for _ in range(wanted.containers - self._alive(version)):
            if len(plan.make) >= AT_ONCE or self._dispatcher.is_room_wanted:
                return
            match self._dispatcher.provision(version, now_s, going):
                case Container() as container:
                    plan.make.append(container)
                case Ending() as ending:
                    plan.make_room.append(ending)
                    return
                case None:
                    return

    def _alive(self, version: Version) -> int:
        return sum(
            container.version.uid == version.uid and container.state is not ContainerState.ENDING
            for container in self._fleet.lists.of_function(version.key)
        )

    def _retire(self, marked: Sequence[Container], plan: Plan, *, is_replaced: bool, is_complete: bool) -> None:
        """Lets go of a version's containers, of which none are to be kept any more."""
        for container in marked:
            if not is_replaced:
                # Nothing came in its place: from now on its keep-alive counts.
                self._mark(container, is_provisioned=False)
            elif is_complete and container.state is ContainerState.IDLE:
                plan.end.append(container.id)

    def _mark(self, container: Container, *, is_provisioned: bool) -> None:
        if container.is_provisioned != is_provisioned:
            self._fleet.put_container(replace(container, is_provisioned=is_provisioned))

    def _note_lack(self, function: FunctionKey, *, is_lacking: bool) -> None:
        if is_lacking == (function in self._lacking):
            return
        if is_lacking:
            self._lacking.add(function)
            log.info("provisioned.lacking", tenant=function[0], function=function[1])
        else:
            self._lacking.discard(function)
            log.info("provisioned.complete", tenant=function[0], function=function[1])
