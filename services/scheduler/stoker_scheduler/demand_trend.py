"""How demands come, as far as can be told from those that came: their rate, its slope, and how much they vary.

This is Holt's linear exponential smoothing ("Forecasting seasonals and trends by exponentially weighted moving
averages", 1957), for intervals of any length (Wright, "Forecasting data published at irregular time intervals using an
extension of Holt's method", Management Science 1986).
"""

from dataclasses import dataclass
from math import exp

RATE_S = 60.0
"""Over what time the rate is smoothed, in seconds."""
SLOPE_S = 300.0
"""Over what time the slope and the variance are smoothed, in seconds."""
FORWARD_S = 60.0
"""How far the slope is trusted, in seconds."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What is known of the demands until now."""

    rate_per_s: float = 0.0
    slope_per_s2: float = 0.0
    variance_per_s: float = 0.0
    """The variance of the number that comes in a second."""

    def after(self, count: int, seconds: float) -> "Trend":
        """What is known after an interval of so many seconds, above 0, in which so many came."""
        expected = self.rate_at(seconds)
        weight, slope_weight = 1 - exp(-seconds / RATE_S), 1 - exp(-seconds / SLOPE_S)
        rate = expected + weight * (count / seconds - expected)
        slope = self.slope_per_s2 + slope_weight * ((rate - self.rate_per_s) / seconds - self.slope_per_s2)
        off = (count - expected * seconds) ** 2 / seconds
        return Trend(rate, slope, self.variance_per_s + slope_weight * (off - self.variance_per_s))

    def rate_at(self, seconds: float) -> float:
        """The rate that is expected in so many seconds from now, in demands a second."""
        return max(0.0, self.rate_per_s + self.slope_per_s2 * min(seconds, FORWARD_S))

    def within(self, seconds: float) -> tuple[float, float]:
        """How many demands are expected in so many seconds from now, and the variance of their number."""
        # The demands of the interval that begins when what is ordered now has come.
        mean = self.rate_at(seconds) * seconds
        return mean, max(mean, self.variance_per_s * seconds)
