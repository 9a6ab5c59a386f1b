"""The comparison of all contenders: CPU and requests, memory, and lag, for 1 to 10,000 waits.

Contenders take turns within each round, and a figure is the median of the rounds, so that the machine's other
work affects all alike. Where all of them together need little CPU, they run at the same time.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from benchmarks.contenders import CONTENDERS, FLOOR, IDLE, OURS, PEER, SHARED, WITH_IDLE
from benchmarks.measuring import Measured, Run, measured
from benchmarks.worlds import world

MOST_AT_ONCE = 100
"""Up to this many waits of each contender run at the same time."""

MOST_OF_PEER = 1000
"""With more waits ``HttpEventTrigger`` can't keep an interval of 10 s: it needs more than one CPU."""

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """How a number of waits is measured: CPU in windows of whole intervals, lag in groups.

    Args:
        waits: How many.
        interval: Seconds between two polls while CPU is measured.
        intervals: How many intervals a window has.
        rounds: How many windows.
        groups: How many groups of this many waits are measured for lag, so that few waits have many lags.
        peer: Another interval and number of rounds for ``HttpEventTrigger``, which otherwise needs more than
            one CPU.
    """

    waits: int
    interval: float
    intervals: int
    rounds: int
    groups: int = 1
    peer: tuple[float, int] | None = None


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    sizes: tuple[Size, ...]
    lag_interval: float
    """Seconds between two polls while lag is measured."""
    outage: float
    """Seconds."""


FULL = Plan(
    (
        Size(1, 0.2, intervals=60, rounds=3, groups=50),
        Size(10, 0.5, intervals=24, rounds=2, groups=10),
        Size(100, 1, intervals=12, rounds=2),
        Size(1000, 1, intervals=6, rounds=3, peer=(4, 2)),
        Size(10_000, 4, intervals=2, rounds=2, peer=(30, 1)),
    ),
    lag_interval=10,
    outage=60,
)
QUICK = Plan(
    (
        Size(1, 0.2, intervals=30, rounds=1, groups=50),
        Size(100, 0.5, intervals=10, rounds=1),
        Size(1000, 1, intervals=3, rounds=1, peer=(4, 1)),
    ),
    lag_interval=5,
    outage=15,
)


@dataclass
class CpuWindow:
    """The figures of one contender in one window. A status is that of one waiting call in one answer."""

    cpu_per_status: float
    """Seconds."""
    statuses_per_wait: float
    """How many per interval: it should be 1."""
    requests_per_interval: float
    requests_per_full_poll: float
    """While each wait gets one status: without the jitter of the interval."""
    connections: float
    """Those that were used."""
    rss_per_wait: float


@dataclass
class Comparison:
    """All figures, by number of waits and contender."""

    cpu: dict[tuple[int, str], list[CpuWindow]] = field(default_factory=dict)
    lag: dict[tuple[int, str], Measured] = field(default_factory=dict)
    memory: dict[tuple[int, str], float] = field(default_factory=dict)
    """Bytes of Python objects per wait."""
    idle_cpu: float = 0
    """CPU seconds per second of a loop of idle triggers; subtracted from all others."""
    idle_collecting: float = 0
    """The longest garbage collection when the most idle triggers start, in CPU seconds."""

    def median(self, waits: int, contender: str, figure: Callable[[CpuWindow], float]) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(figure(window) for window in self.cpu[waits, contender])

    def ratio(self, waits: int, contender: str, other: str) -> float:
        """Return the ratio of CPU per status of two contenders: the median of the rounds' ratios."""
        # A slow one may have fewer rounds.
        pairs = zip(self.cpu[waits, contender], self.cpu[waits, other], strict=False)
        return statistics.median(one.cpu_per_status / two.cpu_per_status for one, two in pairs)


def compare(url: str, plan: Plan, say: Callable[[str], None]) -> Comparison:
    """Measure everything. ``say`` prints what is being done."""
    found = Comparison()
    say("an idle event loop")
    _measure_idle(url, plan, found)
    for size in plan.sizes:
        for number in range(size.rounds):
            say(f"CPU of {size.waits:,} waits, round {number + 1} of {size.rounds}")
            _compare_cpu(url, size, number, found)
    say("memory")
    _compare_memory(url, plan, found)
    _compare_lag(url, plan, say, found)
    return found


def at_once(works: Iterable[Callable[[], T]]) -> list[T]:
    """Run all of them at the same time."""
    works = list(works)
    with ThreadPoolExecutor(len(works) or 1) as threads:
        return [future.result() for future in [threads.submit(work) for work in works]]


def cpu_window(
    url: str,
    contender: str,
    *,
    waits: int,
    interval: float,
    intervals: int,
    idle_cpu: float = 0,
    **of_world: float,
) -> CpuWindow:
    """Measure one contender in one window, after each wait has got a first status."""
    with world(url, waits=waits, **of_world) as there:
        window = interval * intervals
        shown = measured(
            Run(contender, url, there.calls, interval, warm_up=1.2 * interval + 1, window=window)
        )
        log = there.summary(shown.start, shown.end)
    if not log["statuses"]:
        raise RuntimeError(f"{contender} polled none of {waits} calls")
    statuses_per_wait = log["statuses"] / waits
    return CpuWindow(
        cpu_per_status=(shown.cpu - idle_cpu * window) / log["statuses"],
        statuses_per_wait=statuses_per_wait / intervals,
        requests_per_interval=log["requests"] / intervals,
        requests_per_full_poll=log["requests"] / statuses_per_wait,
        connections=log["connections"],
        rss_per_wait=shown.rss / waits,
    )


def _measure_idle(url: str, plan: Plan, found: Comparison) -> None:
    """Measure what the loop and Airflow cost by themselves."""
    with world(url, waits=max(size.waits for size in plan.sizes)) as there:
        run = Run(IDLE, url, there.calls, 1, warm_up=5, window=3)
        watched = replace(run, ticker=True)  # The ticker itself costs CPU.
        shown, seen = at_once(functools.partial(measured, each) for each in (run, watched))
    found.idle_cpu = shown.cpu / (shown.end - shown.start)
    found.idle_collecting = seen.collecting


def _compare_cpu(url: str, size: Size, number: int, found: Comparison) -> None:
    works: dict[str, Callable[[], CpuWindow]] = {}
    for contender in CONTENDERS:
        interval, rounds = size.interval, size.rounds
        if contender == PEER and size.peer:
            interval, rounds = size.peer
        if number < rounds:
            works[contender] = functools.partial(
                cpu_window,
                *(url, contender),
                waits=size.waits,
                interval=interval,
                intervals=max(1, round(size.interval * size.intervals / interval)),
                idle_cpu=found.idle_cpu,
            )
    together = size.waits <= MOST_AT_ONCE
    windows = at_once(works.values()) if together else [work() for work in works.values()]
    for contender, window in zip(works, windows, strict=True):
        found.cpu.setdefault((size.waits, contender), []).append(window)


def _compare_memory(url: str, plan: Plan, found: Comparison) -> None:
    """Trace memory, minus that of the first wait alone: modules, a session, a page."""
    interval = plan.lag_interval

    def traced(waits: int, contender: str) -> float:
        with world(url, waits=waits) as there:
            run = Run(contender, url, there.calls, interval, 2.2 * interval, window=0, trace_memory=True)
            return measured(run).traced

    sizes = [size.waits for size in plan.sizes if size.waits >= MOST_OF_PEER]
    light = (OURS, FLOOR, IDLE)  # Tracing makes the others too slow to poll for all waits in time.
    kinds = [(waits, name) for waits in sizes for name in WITH_IDLE if name in light or waits <= MOST_OF_PEER]
    kinds += [(1, name) for name in WITH_IDLE]
    memory = dict(zip(kinds, at_once(functools.partial(traced, *kind) for kind in kinds), strict=True))
    for waits, name in kinds:
        if waits > 1:
            found.memory[waits, name] = (memory[waits, name] - memory[1, name]) / (waits - 1)


def _compare_lag(url: str, plan: Plan, say: Callable[[str], None], found: Comparison) -> None:
    small = [size for size in plan.sizes if size.waits <= MOST_OF_PEER]
    large = [size for size in plan.sizes if size.waits > MOST_OF_PEER]
    batches = [[(size, contender) for size in small for contender in CONTENDERS]]
    for size in large:
        batches += [[(size, OURS)], [(size, FLOOR), (size, SHARED)]]
    for batch in batches:
        say("lag of " + ", ".join(sorted({f"{size.waits:,}" for size, _ in batch})) + " waits")
        lags = at_once(functools.partial(_lag, url, plan, *each) for each in batch)
        found.lag.update({(size.waits, name): lag for (size, name), lag in zip(batch, lags, strict=True)})


def _lag(url: str, plan: Plan, size: Size, contender: str) -> Measured:
    """Measure how late one contender detects the ends of calls, which are spread over two intervals."""
    interval = plan.lag_interval
    ends = (interval + 2, 3 * interval + 2)
    with world(url, agents=size.groups, waits=size.waits * size.groups, ends=ends) as there:
        run = Run(
            *(contender, url, there.calls, interval),
            warm_up=interval,
            window=5 * interval,
            until_ended=True,
            ticker=True,
            apart=size.groups > 1,
        )
        shown = measured(run)
    if not shown.lags:
        raise RuntimeError(f"{contender} detected no end of {size.waits} calls")
    return shown
