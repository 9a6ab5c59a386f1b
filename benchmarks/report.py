"""The tables of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.comparison import MOST_OF_PEER, Comparison, Plan
from benchmarks.contenders import CONTENDERS, FLOOR, OURS
from benchmarks.tables import table

CPU_COLUMNS: dict[str, Callable[[Comparison, int, str], str]] = {
    "CPU µs a look": lambda found, *key: _micro(found.median(*key, lambda window: window.cpu_per_look)),
    "beside list only": lambda found, *key: f"{found.ratio(*key, FLOOR):.3g} ×",
    "beside ours": lambda found, *key: f"{found.ratio(*key, OURS):.3g} ×",
    "requests per interval": lambda found, *key: (
        f"{found.median(*key, lambda window: window.requests_per_interval):,.4g}"
    ),
    "looks per wait and interval": lambda found, *key: (
        f"{found.median(*key, lambda window: window.looks_per_wait):.2f}"
    ),
    "connections used": lambda found, *key: f"{found.median(*key, lambda window: window.connections):,.0f}",
    "bytes a wait": lambda found, *key: f"{found.memory[key]:,.0f}" if key in found.memory else "",
    "RSS bytes a wait": lambda found, waits, name: (
        f"{found.median(waits, name, lambda window: window.rss_per_wait):,.0f}"
        if waits >= MOST_OF_PEER
        else ""
    ),
}


def comparison_tables(found: Comparison, plan: Plan) -> Iterator[str]:
    """Give a table for CPU, requests and memory, and one for lag, with a line for who is not in it."""
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
        # Groups open their connections at once, as no triggerer does.
        steps = [lag.blocked_cpu * 1000, lag.blocked * 1000] if waits in one_group else []
        figures = [f"{lag.p50:.2f}", f"{lag.p99:.2f}", f"{lag.missed}"]
        rows.append([f"{waits:,}", name, *figures, *([f"{step:.0f}" for step in steps] or ["", ""])])
    step = "longest step of the loop, ms"
    yield table(["waits", "contender", "lag p50, s", "lag p99, s", "missed", f"{step} of CPU", "wall"], rows)
    for waits, name in keys:
        if (waits, name) not in found.lag:
            needed = found.median(waits, name, lambda window: window.cpu_per_look) * waits
            yield (
                f"{name} can't keep an interval of {plan.lag_interval:g} s for {waits:,} waits: "
                f"{waits:,} looks take {needed:.0f} s of CPU."
            )


def _micro(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.0f}" if micro >= 100 else f"{micro:.3g}"
