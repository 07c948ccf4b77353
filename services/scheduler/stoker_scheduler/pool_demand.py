"""How many VMs the warming pool is to have, from the demands for VMs that have come."""

from stoker_scheduler.demand_trend import Trend
from stoker_scheduler.lead_times import LeadTimes
from stoker_scheduler.machines import Shape
from stoker_scheduler.warming_pool import wanted_size


class PoolDemand:
    """What is known of the demands for VMs of each shape. It has no clock: whoever asks says what time it is."""

    def __init__(self, lead_times: LeadTimes) -> None:
        """Begins without any.

        Args:
            lead_times: How long it takes to make a VM.
        """
        self._lead_times = lead_times
        self._new: dict[Shape, int] = {}
        """How many came since they were last taken in."""
        self._trends: dict[Shape, Trend] = {}
        self._seen_s: float | None = None

    def note(self, shape: Shape) -> None:
        """Notes that a demand took, or had to have made, a VM that was no tenant's."""
        self._new[shape] = self._new.get(shape, 0) + 1

    def take_in(self, now_s: float) -> None:
        """Takes in the demands that came since the last time; those before the first time belong to no interval."""
        seconds = 0.0 if self._seen_s is None else now_s - self._seen_s
        if self._seen_s is not None and seconds <= 0:
            return
        if seconds > 0:
            for shape in self._trends | self._new:
                self._trends[shape] = self.trend_of(shape).after(self._new.get(shape, 0), seconds)
            self._new.clear()
        self._seen_s = now_s

    def trend_of(self, shape: Shape) -> Trend:
        """How demands for VMs of a shape come."""
        return self._trends.get(shape, Trend())

    def sizes(self, probability: float) -> dict[Shape, int]:
        """How many VMs of each shape are wanted in the whole fleet, so that a demand finds one with a probability."""
        return {
            shape: wanted_size(trend, self._lead_times.of(shape).expected_s, probability)
            for shape, trend in self._trends.items()
        }
