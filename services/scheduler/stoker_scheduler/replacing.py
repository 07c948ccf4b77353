"""Versions that others have taken the place of: their containers end soon after nobody uses them.

Those that are leased go on until they are given back, and those that are kept loaded until what comes in their place is
loaded. A version that is wanted again is replaced no more.
"""

from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import ContainerState, Demand, FunctionKey

KEPT_S = 2.0
"""How long an idle container of a replaced version is kept, in seconds: the frontends do not all learn at once that
the new version is there."""
MAX_FUNCTIONS = 10_000


class Replacing:
    """Which versions are replaced. It has no clock: time comes with what is asked."""

    def __init__(self, max_functions: int = MAX_FUNCTIONS) -> None:
        """Begins without any.

        Args:
            max_functions: Of how many functions it is remembered; of others the keep-alive alone ends containers.
        """
        self._max_functions = max_functions
        self._replaced: dict[FunctionKey, dict[str, None]] = {}

    def granted(self, demand: Demand) -> None:
        """Notes that a demand has been given a container, so that what it takes the place of is replaced."""
        key = demand.version.key
        replaced = self._replaced.pop(key, {})
        replaced.update(dict.fromkeys(demand.replaces))
        # What nobody waits for and replaces nothing only stands in for the version that does.
        if demand.replaces or not demand.is_in_background:
            replaced.pop(demand.version.uid, None)
        if replaced:
            self._replaced[key] = replaced
            if len(self._replaced) > self._max_functions:
                del self._replaced[next(iter(self._replaced))]

    def is_replaced(self, function: FunctionKey, version_uid: str) -> bool:
        """Whether another version has taken the place of one."""
        return version_uid in self._replaced.get(function, ())

    def ending(self, fleet: Fleet, now_s: float) -> list[str]:
        """The containers that end now. Versions without any container are forgotten."""
        ending: list[str] = []
        for function, replaced in list(self._replaced.items()):
            there: set[str] = set()
            for container in fleet.lists.of_function(function):
                uid = container.version.uid
                if uid not in replaced:
                    continue
                there.add(uid)
                is_unused = container.state is ContainerState.IDLE and not container.is_provisioned
                if is_unused and now_s - container.since_s >= KEPT_S:
                    ending.append(container.id)
            if gone := replaced.keys() - there:
                for uid in gone:
                    del replaced[uid]
                if not replaced:
                    del self._replaced[function]
        return ending
