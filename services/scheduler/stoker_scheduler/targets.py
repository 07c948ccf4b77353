"""How many containers functions are to have, and how many invocations they may run, as the codestore tells."""

from collections.abc import Mapping
from dataclasses import dataclass

from stoker_scheduler.machines import FunctionKey, Version


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A version of which containers are kept loaded."""

    version: Version
    containers: int


@dataclass(frozen=True, slots=True)
class Target:
    """What is set for one function."""

    maximum: int = 0
    """How many invocations may run at once; 0 for as many as its tenant may."""
    provisioned: tuple[Provisioned, ...] = ()


NOTHING = Target()


class Targets:
    """What is set for all functions. Until the codestore has told, nothing is set for any."""

    def __init__(self) -> None:
        self._targets: dict[FunctionKey, Target] = {}
        self._provisioned: dict[FunctionKey, None] = {}
        self._limited: dict[FunctionKey, None] = {}

    def of(self, function: FunctionKey) -> Target:
        """What is set for a function."""
        return self._targets.get(function, NOTHING)

    def provisioned(self) -> list[FunctionKey]:
        """The functions of which containers are kept loaded."""
        return list(self._provisioned)

    def limited(self) -> list[FunctionKey]:
        """The functions that have a maximum of their own."""
        return list(self._limited)

    def put(self, function: FunctionKey, target: Target) -> None:
        """Sets a function's target, in the place of the one before."""
        for index, is_in in ((self._provisioned, bool(target.provisioned)), (self._limited, target.maximum > 0)):
            index.pop(function, None)
            if is_in:
                index[function] = None
        if target == NOTHING:
            self._targets.pop(function, None)
        else:
            self._targets[function] = target

    def replace(self, targets: Mapping[FunctionKey, Target]) -> None:
        """Sets all functions' targets, in the place of what was set before."""
        for function in list(self._targets):
            self.put(function, NOTHING)
        for function, target in targets.items():
            self.put(function, target)
