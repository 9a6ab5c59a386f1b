"""What the project wants to reach, each with what was measured."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_telzino.api.retry import BACKOFF_CAP
from benchmarks.comparison import Comparison, Plan, at_once, cpu_window
from benchmarks.contenders import FLOOR, IDLE, OURS, PEER, SHARED
from benchmarks.measuring import Run, measured
from benchmarks.tables import Row, at_least, at_most
from benchmarks.worlds import world

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENTS = 100
CASES: dict[str, dict[str, float]] = {
    "50,000 older ended calls": {"older": 50_000},
    "50,000 older, a new call each second": {"older": 50_000, "arrivals": 1},
    "50,000 older, every second newer call ended": {"older": 50_000, "between": 1},
    f"{AGENTS} agents": {"agents": AGENTS},
}
"""Worlds in which only requests are counted: what they are, and how to make them."""

OUTAGE_WAITS = 5000


@dataclass
class Outage:
    """Requests while the API is away for a time, and around it."""

    usual: float
    """Requests an interval before, on average."""
    most_before: float
    """The most requests in any time as long as an interval, before,"""
    meanwhile: float
    """requests an interval during the outage,"""
    most: float
    """and the most requests in any time as long as an interval afterwards."""
    back_after: float
    """Seconds from its end until the first request."""


def outage(url: str, plan: Plan) -> Outage:
    """Measure an outage. It needs next to no CPU, so it may run beside other measurements."""
    interval, length = plan.lag_interval, plan.outage
    before, after = 3 * interval, min(length, BACKOFF_CAP) + 3 * interval
    with world(url, waits=OUTAGE_WAITS) as there, ThreadPoolExecutor(1) as thread:
        run = Run(OURS, url, there.calls, interval, warm_up=before, window=length + after)
        future = thread.submit(measured, run)
        there.wait_for_request()
        time.sleep(before)
        left = time.time()
        there.go_away(length)
        shown = future.result()
        back = left + length
        steady = there.read(0, left, width=interval)
        meanwhile = there.read(left, back)["requests"] * interval / length
        recovery = there.read(back, shown.end, width=interval)
    if recovery["told"] < OUTAGE_WAITS:
        raise RuntimeError("not all waits went on after the outage")
    usual = steady["requests"] * OUTAGE_WAITS / steady["told"]
    return Outage(usual, steady["most"], meanwhile, recovery["most"], recovery["first"] - back)


def rows(url: str, plan: Plan, found: Comparison, away: Outage) -> Iterator[Row]:
    """Give a row for each target, measuring what the comparison hasn't."""
    yield from _rows_of_looks(url, found)
    yield from _rows_of_the_most_waits(max(size.waits for size in plan.sizes), found)
    yield from _rows_of_lag(plan, found)
    what = f"{OUTAGE_WAITS:,} waits, outage of {plan.outage:g} s"
    most = f"{what}: most requests in any interval after it, beside the usual"
    yield at_most(most, 2, away.most / away.usual, " ×")
    yield Row(f"{what}: the same before it", "-", f"{away.most_before / away.usual:.3g} ×", None)
    yield Row(f"{what}: requests per interval meanwhile", "-", f"{away.meanwhile:.3g}", None)
    yield Row(f"{what}: first request after its end", "-", f"{away.back_after:.3g} s", None)


def _rows_of_looks(url: str, found: Comparison) -> Iterator[Row]:
    yield at_most("CPU a look, 1,000 waits, beside list only", 1.5, found.ratio(1000, OURS, FLOOR), " ×")
    what = "CPU a look, 1,000 waits: HttpEventTrigger beside ours"
    yield at_least(what, 80, found.ratio(1000, PEER, OURS), " ×")
    requests = found.median(1000, OURS, lambda window: window.requests_per_interval)
    yield at_most("requests per interval, 1,000 waits", 15, requests)
    *older, spread = at_once(
        functools.partial(cpu_window, url, OURS, waits=1000, interval=1, intervals=5, **case)
        for case in CASES.values()
    )
    for what, window in zip(CASES, older, strict=False):
        yield at_most(f"requests per interval, 1,000 waits, {what}", 25, window.requests_per_interval)
    requests = found.median(1, OURS, lambda window: window.requests_per_full_look)
    yield Row("requests per look, 1 wait", "= 1", f"{requests:.3g}", requests == 1)
    yield at_most("CPU a look, 1 wait, beside the shared session", 1.2, found.ratio(1, OURS, SHARED), " ×")
    what = f"requests per look, 1,000 waits over {AGENTS} agents, beside the fewest possible"
    yield at_most(what, 1.1, spread.requests_per_full_look / AGENTS, " ×")


def _rows_of_the_most_waits(most: int, found: Comparison) -> Iterator[Row]:
    lag = found.lag[most, OURS]
    yield Row(f"{most:,} waits: ends not heard of", "= 0", f"{lag.missed}", lag.missed == 0)
    step = f"{most:,} waits: the loop's longest step"
    yield at_most(f"{step}, CPU time", 50, lag.blocked_cpu * 1000, " ms")
    yield Row(f"{step}, wall time on this machine", "-", f"{lag.blocked * 1000:.3g} ms", None)
    yield Row(f"{most:,} waits: longest garbage collection", "-", f"{lag.collecting * 1000:.3g} ms", None)
    yield Row(f"{most:,} idle triggers: the same", "-", f"{found.idle_collecting * 1000:.3g} ms", None)
    yield at_most(f"{most:,} waits: memory a wait", 4096, found.memory[most, OURS], " B")
    yield Row("an idle trigger alone", "-", f"{found.memory[most, IDLE]:,.0f} B", None)


def _rows_of_lag(plan: Plan, found: Comparison) -> Iterator[Row]:
    for size in plan.sizes:
        lag = found.lag[size.waits, OURS]
        what = f"detection lag, {size.waits:,} at a time, interval {plan.lag_interval:g} s"
        if size.groups == 1:  # The median of a few groups is left to chance.
            yield at_most(f"{what}: p50", plan.lag_interval / 2 + 0.3, lag.p50, " s")
        yield at_most(f"{what}: p99", plan.lag_interval + 1, lag.p99, " s")
