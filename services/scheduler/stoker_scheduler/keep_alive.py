"""How long what nobody uses is kept. What makes way before that because its memory is needed: see `eviction.py`."""

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import takewhile

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.idle_times import IdleTimes, KeepAlivePolicy
from stoker_scheduler.machines import Container, ContainerState, FunctionKey, Version

MAX_FUNCTIONS = 50_000
"""Of how many functions the idle times are remembered; those that were used last. Each takes up to 0.5 KiB."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Containers and VMs to destroy."""

    containers: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()


@dataclass(slots=True)
class _Habit:
    times: IdleTimes
    idle_since_s: float | None = None


class KeepAlive:
    """When idle containers end, by what is known of their functions. It has no clock: time comes with what happens."""

    def __init__(self, policy: KeepAlivePolicy, max_functions: int = MAX_FUNCTIONS) -> None:
        """Begins without knowing any function.

        Args:
            policy: The bounds.
            max_functions: Of how many functions the idle times are remembered.
        """
        self._policy = policy
        self._max_functions = max_functions
        self._habits: dict[FunctionKey, _Habit] = {}
        """Those of functions used last at the end."""
        self._due: list[tuple[float, str]] = []
        """A heap: when each container that fell idle is to be looked at again."""
        self._is_due: set[str] = set()

    def idled(self, container: Container) -> None:
        """Notes that a container fell idle at the time it tells."""
        habit = self._habit(container.version.key)
        habit.idle_since_s = container.since_s
        if container.id not in self._is_due:
            self._is_due.add(container.id)
            heappush(self._due, (container.since_s + habit.times.keep_s(self._policy), container.id))

    def wanted(self, version: Version, now_s: float) -> None:
        """Notes that a container of a version is wanted: the function's idle time has ended, if it was idle."""
        habit = self._habit(version.key)
        if habit.idle_since_s is not None:
            habit.times.add(max(0.0, now_s - habit.idle_since_s), self._policy.most_s)
            habit.idle_since_s = None

    def keep_s(self, function: FunctionKey) -> float:
        """For how long a function's container is kept that falls idle now, in seconds."""
        habit = self._habits.get(function)
        return (habit.times if habit else IdleTimes()).keep_s(self._policy)

    def ending(self, fleet: Fleet, now_s: float) -> tuple[str, ...]:
        """The containers that have been idle for long enough."""
        ending: list[str] = []
        again: list[tuple[float, str]] = []
        while self._due and self._due[0][0] <= now_s:
            _, id_ = heappop(self._due)
            container = fleet.find_container(id_)
            if container is None or container.state is not ContainerState.IDLE or container.is_provisioned:
                self._is_due.discard(id_)
                continue
            due_s = container.since_s + self.keep_s(container.version.key)
            if due_s <= now_s:
                self._is_due.discard(id_)
                ending.append(id_)
            else:
                again.append((due_s, id_))
        for entry in again:
            heappush(self._due, entry)
        return tuple(ending)

    def _habit(self, function: FunctionKey) -> _Habit:
        habit = self._habits.pop(function, None) or _Habit(IdleTimes())
        self._habits[function] = habit
        if len(self._habits) > self._max_functions:
            del self._habits[next(iter(self._habits))]
        return habit


def empty_for_long(fleet: Fleet, now_s: float, vm_idle_s: float) -> tuple[str, ...]:
    """The tenants' VMs that have been without a container for longer than this."""
    vms = takewhile(lambda empty: now_s - empty[1] > vm_idle_s, fleet.empty_longest_first())
    return tuple(vm.id for vm, _ in vms)
