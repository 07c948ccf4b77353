"""How long hosts take to make a VM: measured, apart for clones of a template and for VMs that boot."""

from dataclasses import dataclass

from stoker_scheduler.machines import Shape

WEIGHT = 0.1
"""How much the newest of them counts."""
BOOT_S = 10.0
"""How long it is thought to take before any has been made, in seconds."""


@dataclass(frozen=True, slots=True)
class LeadTime:
    """How long it took for one shape, in seconds."""

    clone_s: float | None = None
    boot_s: float | None = None
    clones_share: float = 0.0
    """How many of the latest were clones, from 0 to 1."""

    def after(self, took_s: float, *, is_clone: bool) -> "LeadTime":
        """What is known after another one."""
        is_first = self.clone_s is None and self.boot_s is None
        share = float(is_clone) if is_first else _smooth(self.clones_share, float(is_clone))
        if is_clone:
            return LeadTime(_smooth(self.clone_s, took_s), self.boot_s, share)
        return LeadTime(self.clone_s, _smooth(self.boot_s, took_s), share)

    @property
    def expected_s(self) -> float:
        """How long the next one will take, in seconds."""
        if self.clone_s is None:
            return BOOT_S if self.boot_s is None else self.boot_s
        if self.boot_s is None:
            return self.clone_s
        return self.clones_share * self.clone_s + (1 - self.clones_share) * self.boot_s


class LeadTimes:
    """How long it took for each shape."""

    def __init__(self) -> None:
        self._of_shape: dict[Shape, LeadTime] = {}

    def note(self, shape: Shape, took_s: float, *, is_clone: bool) -> None:
        """Notes how long one took."""
        self._of_shape[shape] = self.of(shape).after(took_s, is_clone=is_clone)

    def of(self, shape: Shape) -> LeadTime:
        """What is known of a shape."""
        return self._of_shape.get(shape, LeadTime())


def _smooth(before: float | None, new: float) -> float:
    return new if before is None else before + WEIGHT * (new - before)
