"""Whether a new version is worse than the old one, judged while both answer, however often one looks.

Each invocation of a weighted alias is sent to one of its two versions by chance. That makes a rollout a randomized
trial, and what is asked of it a randomization test: if the new version is no worse, then whether a call fails does not
depend on which version it was sent to. So of the calls of a short time, the *stratum*, it is as if the errors had been
dealt out: given how many calls each version had and how many errors there were together, the errors of the new one
follow a hypergeometric distribution (Fisher 1935). Nothing is assumed of how often functions fail: a bad minute that
hits both versions alike counts for nothing, and neither version needs a rate that is known before.

**Evidence by betting.** For each of a few tilts, `Bet.after` bets that the odds of an error are that many times higher
in the new version: in each stratum the wealth is multiplied by the likelihood of what was seen under the tilted
(Fisher's noncentral) hypergeometric distribution over that under the plain one. If the new version is no worse, the
wealth is a nonnegative supermartingale that begins at 1, and so is its mean over the tilts. By Ville's inequality
(1939) it *ever* reaches 1/p with a probability of p at the most. So one may look after every call, and stop whenever
one likes. This is a mixture sequential probability ratio test (Robbins 1970; Johari, Koomen, Pekelis and Walsh, "Always
valid inference", Operations Research 2022) with Fisher's conditional likelihood, an e-process in the sense of Ramdas,
Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 2023. 1
over the highest wealth so far is a p-value that is valid at all times.

**Errors** are tested so, with `ERRORS_ALPHA`. **Slowness** likewise, with `SLOW_ALPHA`: a call of the old version is
slow if it runs longer than the bucket with the old version's median of the strata before; a call of the new version, if
it runs longer than the bucket after that. So one bucket, 19 %, of slowness is allowed. The same is asked of the 90th
percentile, and the wealth is the mean of both. If the new version takes no call more than 19 % longer, it has no slow
calls but those that the old one would have had, and fewer can only lower the wealth. A threshold is known before the
stratum that it is used in, as the argument demands. Calls that fail have no duration here: they are the other test's.

**The bound.** A new version that is no worse is rolled back, over the whole rollout, with a probability of at most
`ERRORS_ALPHA + SLOW_ALPHA`, 1 %. Where it is slightly worse, by less than about a fifth in the odds of an error, bets
on 1.5 and more lose too. The bound needs strata that end by what does not depend on which version was chosen: by the
calls of both together (`stratum_size`), or by time. And it needs calls that are sent by chance, one by one. Session
keys send all calls of a key to one version, so where a few keys make most of the calls, two versions may differ because
their callers do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, exp, log

from stoker_codestore.outcomes import Outcomes

ERRORS_ALPHA = 0.005
SLOW_ALPHA = 0.005
TILTS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""How many times higher the odds of the new version are bet to be, with an eighth of the stake each."""
QUANTILES = (0.5, 0.9)
"""Those of the old version's durations that the new version's are held against."""
TOLERATED_BUCKETS = 1
"""By how many buckets of durations the new version may be slower."""
FEWEST_DURATIONS = 20
"""How many durations of the old version there must be before any call is called slow."""
SMALLEST_STRATUM = 20
PER_STRATUM = 2
"""How many calls of the version with fewer a stratum has on the average, at the least."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a stratum has shown: the calls of each version, and how many of them have failed, or were slow."""

    new: int
    old: int
    bad_new: int
    bad_old: int


@dataclass(frozen=True, slots=True)
class Bet:
    """The wealth of bets that the new version is worse."""

    logs: tuple[float, ...] = (0.0,) * len(TILTS)
    """The logarithm of the wealth of each tilt."""

    def after(self, table: Table) -> "Bet":
        """The wealth when a stratum is known."""
        return Bet(tuple(before + gain for before, gain in zip(self.logs, log_ratios(table), strict=True)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of two versions, from strata that have ended and from the one that has not."""

    errors: Bet = field(default_factory=Bet)
    slow: tuple[Bet, ...] = (Bet(),) * len(QUANTILES)
    errors_peak: float = 0.0
    """The highest logarithm of the wealth so far."""
    slow_peak: float = 0.0
    old: Outcomes = field(default_factory=Outcomes)
    """Those of strata that have ended."""
    new: Outcomes = field(default_factory=Outcomes)
    open_old: Outcomes = field(default_factory=Outcomes)
    open_new: Outcomes = field(default_factory=Outcomes)

    def with_calls(self, old: Outcomes, new: Outcomes, weight: int) -> "Evidence":
        """What is known after some more calls.

        Args:
            old: What came of those that were sent to the old version,
            new: and of those that were sent to the new one, all of them since the last were counted.
            weight: The new version's share in percent, the same as for all calls since a stratum was `ended`.
        """
        after = replace(self, open_old=self.open_old + old, open_new=self.open_new + new)
        is_full = after.open_old.calls + after.open_new.calls >= stratum_size(weight)
        return after.ended() if is_full else after

    def ended(self) -> "Evidence":
        """What is known when the open stratum ends: when it is full, or the weights are about to change."""
        old, new = self.open_old, self.open_new
        errors = self.errors.after(Table(new.calls, old.calls, new.errors, old.errors))
        slow = tuple(
            bet.after(_slowness(self.old, old, new, share)) for bet, share in zip(self.slow, QUANTILES, strict=True)
        )
        return Evidence(
            errors,
            slow,
            max(self.errors_peak, _log_wealth([errors])),
            max(self.slow_peak, _log_wealth(slow)),
            self.old + old,
            self.new + new,
        )

    @property
    def errors_p(self) -> float:
        """How likely a version that fails no more often would ever have looked as bad as this one has, at the most."""
        return exp(-self.errors_peak)

    @property
    def slow_p(self) -> float:
        """How likely a version that is no slower would ever have looked as slow as this one has, at the most."""
        return exp(-self.slow_peak)

    @property
    def fails_more(self) -> bool:
        """Whether the new version is found to fail more often."""
        return self.errors_p <= ERRORS_ALPHA

    @property
    def is_slower(self) -> bool:
        """Whether the new version is found to be slower."""
        return self.slow_p <= SLOW_ALPHA


def stratum_size(weight: int) -> int:
    """How many calls of both versions together end a stratum, where the new one gets `weight` percent."""
    smaller = min(weight, 100 - weight)
    return max(SMALLEST_STRATUM, ceil(PER_STRATUM * 100 / smaller)) if smaller else SMALLEST_STRATUM


def log_ratios(table: Table) -> Sequence[float]:
    """For each tilt, the logarithm of how much likelier it makes a table than no tilt does.

    Given the calls of each version and the bad ones of both, n of those being the new version's has a likelihood in
    proportion to C(new, n) C(old, bad - n) θ^n.
    """
    bad = table.bad_new + table.bad_old
    fewest, most = max(0, bad - table.old), min(bad, table.new)
    if fewest == most:
        return (0.0,) * len(TILTS)
    # Each from the one before; what they have in common cancels out.
    weights = [0.0]
    for number, _ in pairwise(range(fewest, most + 1)):
        grows = (table.new - number) * (bad - number)
        shrinks = (number + 1) * (table.old - bad + number + 1)
        weights.append(weights[-1] + log(grows / shrinks))
    plain = _log_sum(weights)
    return [
        (table.bad_new - fewest) * log(tilt) + plain - _log_sum(each + n * log(tilt) for n, each in enumerate(weights))
        for tilt in TILTS
    ]


def _slowness(known: Outcomes, old: Outcomes, new: Outcomes, share: float) -> Table:
    """Which of a stratum's calls were slow, as the old version's calls before it would have it."""
    threshold = known.quantile(share) if known.successes >= FEWEST_DURATIONS else None
    if threshold is None:
        return Table(0, 0, 0, 0)
    slow_new = new.longer_than(threshold + TOLERATED_BUCKETS)
    return Table(new.successes, old.successes, slow_new, old.longer_than(threshold))


def _log_wealth(bets: Sequence[Bet]) -> float:
    """The logarithm of the mean wealth of bets, each of which has as many tilts."""
    logs = [each for bet in bets for each in bet.logs]
    return _log_sum(logs) - log(len(logs))


def _log_sum(logs: Iterable[float]) -> float:
    """The logarithm of the sum of what `logs` are the logarithms of."""
    listed = list(logs)
    highest = max(listed)
    return highest + log(sum(exp(each - highest) for each in listed))
