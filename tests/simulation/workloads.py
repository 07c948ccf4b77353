"""Workloads: which function is invoked when, and how long it runs.

The large one follows what was published of Azure Functions: M. Shahrad et al., "Serverless in the Wild: Characterizing
and Optimizing the Serverless Workload at a Large Cloud Provider", USENIX ATC 2020. From there are

- how often applications are invoked (figure 5): 45 % once an hour or less, 81 % once a minute or less, the rates over
  eight orders of magnitude, and the 18.6 % above one a minute make 99.6 % of the invocations;
- how long functions run on average (figure 7): log-normal, log mean -0.38 and sigma 2.36, in seconds;
- how much memory applications take (figure 8): Burr XII, c = 11.652, k = 0.221, lambda = 107.083, in MiB;
- how many functions an application has (figure 1), and that 15.6 % of functions are timers (figure 2);
- that arrivals are as regular as a timer for some and burstier than Poisson for many (figure 6).

An application is what is isolated there, so it is a tenant here.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from stoker_protos.v1 import versions_pb2

from tests.simulation.functions import Function

DAY_S = 86_400.0
HEAD = 0.19
"""The share of functions that are invoked more than once a minute."""
RATES_PER_DAY = ((0.0, 0.07), (0.45, 24.0), (1 - HEAD, 1440.0))
"""Up to which rate how large a share of the functions is invoked; between these points the logarithm is linear."""
MOST_PER_DAY = 7e6
"""The rate of the most popular function, eight orders of magnitude above the least popular one."""
FUNCTIONS_OF_TENANT = ((54, 1, 1), (16, 2, 2), (10, 3, 3), (8, 4, 5), (7, 6, 10), (5, 11, 30))
"""Percentage of tenants with how many functions, from and to."""
TIMERS = 0.156
BURSTY = 0.4
"""The share of functions whose calls come in bursts: about as many have a coefficient of variation above 1."""
RUNTIMES = (versions_pb2.RUNTIME_PYTHON3, versions_pb2.RUNTIME_NODEJS)
PYTHON = 0.6
LONGEST_RUN_S = 60.0
"""Runs are cut here: a handful of the longest averages would otherwise be most of the load."""
MEMORY_STEP_MIB = 64


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call that comes at a time, in seconds since the first may come."""

    at_s: float
    function: Function
    run_s: float


Times = Iterator[float]
"""When calls of one function come, in seconds, in any order."""


def poisson(random: Random, rate_s: float, until_s: float) -> Times:
    """Calls that know nothing of each other, so many a second."""
    now_s = random.expovariate(rate_s)
    while now_s < until_s:
        yield now_s
        now_s += random.expovariate(rate_s)


def timer(random: Random, rate_s: float, until_s: float) -> Times:
    """Calls at equal distances."""
    now_s = random.random() / rate_s
    while now_s < until_s:
        yield now_s
        now_s += 1 / rate_s


def bursts(random: Random, rate_s: float, until_s: float, *, size: float = 5.0, gap_s: float = 1.0) -> Times:
    """Bursts of calls, on average `size` of them `gap_s` apart; the bursts themselves are Poisson."""
    for now_s in poisson(random, rate_s / size, until_s):
        yield now_s
        while random.random() >= 1 / size and (now_s := now_s + random.expovariate(1 / gap_s)) < until_s:
            yield now_s


def daily(random: Random, times: Times, day_s: float) -> Times:
    """Thins calls by the time of day: half of them go, most at night."""
    for now_s in times:
        if random.random() < 0.5 - 0.5 * math.cos(2 * math.pi * now_s / day_s):
            yield now_s


def arrivals(random: Random, of: Sequence[tuple[Function, Times, float]]) -> list[Arrival]:
    """The calls of several functions, each with its times and its average run, in order."""
    all_ = [
        Arrival(at_s, function, min(LONGEST_RUN_S, random.expovariate(1 / mean_run_s)))
        for function, times, mean_run_s in of
        for at_s in times
    ]
    all_.sort(key=lambda arrival: arrival.at_s)
    return all_


def simple(
    seed: int, functions: int, rate_s: float, until_s: float, shape: Callable[..., Times] = poisson
) -> list[Arrival]:
    """A few functions of a third as many tenants, equally often called, together so many times a second."""
    random = Random(f"simple {seed}")
    all_ = [
        Function(
            f"tenant-{number // 3}",
            f"function-{number}",
            memory_mib=(128, 192, 384)[number % 3],
            runtime=RUNTIMES[number % 2],
            concurrency=4 if number % 4 == 3 else 1,
        )
        for number in range(functions)
    ]
    return arrivals(random, [(each, shape(random, rate_s / functions, until_s), 0.5) for each in all_])


def azure(seed: int, functions: int, calls: int, until_s: float) -> list[Arrival]:
    """The published workload, with its rates divided so that about `calls` come.

    Args:
        seed: What it is drawn from.
        functions: How many functions there are.
        calls: How many calls come, on average over seeds.
        until_s: For how long they come, in seconds; it has two days' cycles.
    """
    random = Random(f"azure {seed}")
    rates = [_rate_per_day(rank, functions) for rank in range(functions)]
    scale = calls / sum(rates) / until_s
    tenants = _tenants(random, functions)
    random.shuffle(rates)
    of: list[tuple[Function, Times, float]] = []
    for number, (tenant, rate) in enumerate(zip(tenants, rates, strict=True)):
        runtime = RUNTIMES[random.random() >= PYTHON]
        function = Function(tenant, f"function-{number}", _memory_mib(random), runtime)
        mean_run_s = min(LONGEST_RUN_S, random.lognormvariate(-0.38, 2.36))
        of.append((function, _times(random, rate * scale, until_s), max(0.001, mean_run_s)))
    return arrivals(random, of)


def _times(random: Random, rate_s: float, until_s: float) -> Times:
    point = random.random()
    if point < TIMERS:
        return timer(random, rate_s, until_s)
    shape = bursts if point < TIMERS + BURSTY else poisson
    return daily(random, shape(random, 2 * rate_s, until_s), until_s / 2)


def _rate_per_day(rank: int, functions: int) -> float:
    """The rate of a function by its popularity: a power law down to one a minute, then as published."""
    head = max(1, round(HEAD * functions))
    if rank < head:
        steepness = math.log(MOST_PER_DAY / RATES_PER_DAY[-1][1]) / math.log(head + 1)
        return MOST_PER_DAY / (rank + 1) ** steepness
    share = 1 - (rank + 0.5) / functions
    (low, slowest), (high, fastest) = next(pair for pair in pairwise(RATES_PER_DAY) if share <= pair[1][0])
    return slowest * (fastest / slowest) ** ((share - low) / (high - low))


def _memory_mib(random: Random) -> int:
    """Burr XII, by the inverse of its distribution, in the steps in which containers are given memory."""
    c, k, scale_mib = 11.652, 0.221, 107.083
    memory_mib = scale_mib * ((1 - random.random()) ** (-1 / k) - 1) ** (1 / c)
    return min(1536, MEMORY_STEP_MIB * math.ceil(memory_mib / MEMORY_STEP_MIB))


def _tenants(random: Random, functions: int) -> list[str]:
    """The tenant of each function."""
    tenants: list[str] = []
    shares = [share for share, _, _ in FUNCTIONS_OF_TENANT]
    number = 0
    while len(tenants) < functions:
        _, least, most = random.choices(FUNCTIONS_OF_TENANT, shares)[0]
        tenants += [f"tenant-{number}"] * random.randint(least, most)
        number += 1
    return tenants[:functions]
