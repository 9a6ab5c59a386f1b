"""What the project wants to reach, with what was measured."""

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
from benchmarks.tables import Row, at_least, at_most, exactly, figure
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
"""Worlds in which only requests are counted, and the arguments that create them."""

OUTAGE_WAITS = 5000


@dataclass
class Outage:
    """Requests before, during and after an outage of the API."""

    usual: float
    """Requests per interval before it, on average."""
    most_before: float
    """The most requests in any time as long as an interval, before it."""
    meanwhile: float
    """Requests per interval during it."""
    most_after: float
    """The most requests in any time as long as an interval, after it."""
    resumed_after: float
    """Seconds from its end to the first request."""


def outage(url: str, plan: Plan) -> Outage:
    """Measure an outage. It needs hardly any CPU, so it may run beside other measurements."""
    interval, length = plan.lag_interval, plan.outage
    before, after = 3 * interval, min(length, BACKOFF_CAP) + 3 * interval
    with world(url, waits=OUTAGE_WAITS) as there, ThreadPoolExecutor(1) as thread:
        run = Run(OURS, url, there.calls, interval, warm_up=before, window=length + after)
        future = thread.submit(measured, run)
        there.wait_for_request()
        time.sleep(before)
        start = time.time()
        there.begin_outage(length)
        shown = future.result()
        end = start + length
        steady = there.summary(0, start, width=interval)
        meanwhile = there.summary(start, end)["requests"] * interval / length
        recovery = there.summary(end, shown.end, width=interval)
    if recovery["statuses"] < OUTAGE_WAITS:
        raise RuntimeError("not all waits continued after the outage")
    usual = steady["requests"] * OUTAGE_WAITS / steady["statuses"]
    return Outage(usual, steady["most"], meanwhile, recovery["most"], recovery["first"] - end)


def rows(url: str, plan: Plan, found: Comparison, away: Outage) -> Iterator[Row]:
    """Yield a row for each target, and measure what the comparison hasn't."""
    yield from _rows_of_cpu_and_requests(url, found)
    yield from _rows_of_the_most_waits(max(size.waits for size in plan.sizes), found)
    yield from _rows_of_lag(plan, found)
    what = f"{OUTAGE_WAITS:,} waits, outage of {plan.outage:g} s"
    most = f"{what}: most requests in any interval after it, relative to the usual"
    yield at_most(most, 2, away.most_after / away.usual, " ×")
    yield figure(f"{what}: the same before it", f"{away.most_before / away.usual:.3g} ×")
    yield figure(f"{what}: requests per interval meanwhile", f"{away.meanwhile:.3g}")
    yield figure(f"{what}: first request after its end", f"{away.resumed_after:.3g} s")


def _rows_of_cpu_and_requests(url: str, found: Comparison) -> Iterator[Row]:
    what = "CPU per status, 1,000 waits"
    yield at_most(f"{what}, relative to list only", 1.5, found.ratio(1000, OURS, FLOOR), " ×")
    yield at_least(f"{what}: HttpEventTrigger relative to ours", 80, found.ratio(1000, PEER, OURS), " ×")
    requests = found.median(1000, OURS, lambda window: window.requests_per_interval)
    yield at_most("requests per interval, 1,000 waits", 15, requests)
    *older, spread = at_once(
        functools.partial(cpu_window, url, OURS, waits=1000, interval=1, intervals=5, **case)
        for case in CASES.values()
    )
    for what, window in zip(CASES, older, strict=False):
        yield at_most(f"requests per interval, 1,000 waits, {what}", 25, window.requests_per_interval)
    requests = found.median(1, OURS, lambda window: window.requests_per_full_poll)
    yield exactly("requests per status, 1 wait", 1, requests)
    what = "CPU per status, 1 wait, relative to the shared session"
    yield at_most(what, 1.2, found.ratio(1, OURS, SHARED), " ×")
    what = f"requests per poll, 1,000 waits over {AGENTS} agents, relative to the fewest possible"
    yield at_most(what, 1.1, spread.requests_per_full_poll / AGENTS, " ×")


def _rows_of_the_most_waits(most: int, found: Comparison) -> Iterator[Row]:
    lag = found.lag[most, OURS]
    yield exactly(f"{most:,} waits: ends not detected", 0, lag.missed)
    step = f"{most:,} waits: the loop's longest step"
    yield at_most(f"{step}, CPU time", 50, lag.blocked_cpu * 1000, " ms")
    yield figure(f"{step}, wall time on this machine", f"{lag.blocked * 1000:.3g} ms")
    yield figure(f"{most:,} waits: longest garbage collection", f"{lag.collecting * 1000:.3g} ms")
    yield figure(f"{most:,} idle triggers: the same", f"{found.idle_collecting * 1000:.3g} ms")
    yield at_most(f"{most:,} waits: memory per wait", 4096, found.memory[most, OURS], " B")
    yield figure("an idle trigger alone", f"{found.memory[most, IDLE]:,.0f} B")


def _rows_of_lag(plan: Plan, found: Comparison) -> Iterator[Row]:
    for size in plan.sizes:
        lag = found.lag[size.waits, OURS]
        what = f"detection lag, {size.waits:,} at a time, interval {plan.lag_interval:g} s"
        if size.groups == 1:  # The median of a few groups is random.
            yield at_most(f"{what}: p50", plan.lag_interval / 2 + 0.3, lag.lag(0.5), " s")
        yield at_most(f"{what}: p99", plan.lag_interval + 1, lag.lag(0.99), " s")
