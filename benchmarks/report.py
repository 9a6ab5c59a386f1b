"""The tables of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.comparison import MOST_OF_PEER, Comparison, Plan
from benchmarks.contenders import CONTENDERS, FLOOR, OURS
from benchmarks.tables import table

CPU_COLUMNS: dict[str, Callable[[Comparison, int, str], str]] = {
    "CPU µs per status": lambda found, *key: _micro(found.median(*key, lambda window: window.cpu_per_status)),
    "relative to list only": lambda found, *key: f"{found.ratio(*key, FLOOR):.3g} ×",
    "relative to ours": lambda found, *key: f"{found.ratio(*key, OURS):.3g} ×",
    "requests per interval": lambda found, *key: (
        f"{found.median(*key, lambda window: window.requests_per_interval):,.4g}"
    ),
    "statuses per wait and interval": lambda found, *key: (
        f"{found.median(*key, lambda window: window.statuses_per_wait):.2f}"
    ),
    "connections used": lambda found, *key: f"{found.median(*key, lambda window: window.connections):,.0f}",
    "bytes per wait": lambda found, *key: f"{found.memory[key]:,.0f}" if key in found.memory else "",
    "RSS bytes per wait": lambda found, waits, name: (
        f"{found.median(waits, name, lambda window: window.rss_per_wait):,.0f}"
        if waits >= MOST_OF_PEER
        else ""
    ),
}


def comparison_tables(found: Comparison, plan: Plan) -> Iterator[str]:
    """Yield a table of CPU, requests and memory, and one of lag, with a line for each that is not in it."""
    keys = [(size.waits, name) for size in plan.sizes for name in CONTENDERS]
    yield table(
        ["waits", "contender", *CPU_COLUMNS],
        [
            [f"{waits:,}", name, *(column(found, waits, name) for column in CPU_COLUMNS.values())]
            for waits, name in keys
        ],
    )
    one_group = {size.waits for size in plan.sizes if size.groups == 1}
    rows = []
    for waits, name in keys:
        lag = found.lag.get((waits, name))
        if lag is None:
            continue
        # Groups open their connections at the same time, unlike a triggerer.
        steps = [lag.blocked_cpu * 1000, lag.blocked * 1000] if waits in one_group else []
        figures = [f"{lag.lag(0.5):.2f}", f"{lag.lag(0.99):.2f}", f"{lag.missed}"]
        rows.append([f"{waits:,}", name, *figures, *([f"{step:.0f}" for step in steps] or ["", ""])])
    step = "longest step of the loop, ms"
    yield table(["waits", "contender", "lag p50, s", "lag p99, s", "missed", f"{step} of CPU", "wall"], rows)
    for waits, name in keys:
        if (waits, name) not in found.lag:
            needed = found.median(waits, name, lambda window: window.cpu_per_status) * waits
            yield (
                f"{name} can't keep an interval of {plan.lag_interval:g} s for {waits:,} waits: "
                f"{waits:,} polls need {needed:.0f} s of CPU."
            )


def _micro(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.0f}" if micro >= 100 else f"{micro:.3g}"
