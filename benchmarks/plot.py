"""The plot for the docs: CPU per status and requests per interval, by number of waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.comparison import Comparison, CpuWindow, Plan
from benchmarks.contenders import CONTENDERS, FLOOR, OURS, PEER, SHARED

STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#0072b2", "linewidth": 2.5, "marker": "o"},
    PEER: {"color": "#d55e00", "marker": "s"},
    SHARED: {"color": "#e69f00", "marker": "^"},
    FLOOR: {"color": "#777777", "linestyle": "--", "marker": "."},
}
PANELS: dict[str, Callable[[CpuWindow], float]] = {
    "CPU per status, µs": lambda window: window.cpu_per_status * 1e6,
    "Requests per interval": lambda window: window.requests_per_interval,
}


def draw(found: Comparison, plan: Plan, path: Path) -> None:
    """Draw it as SVG; the same figures result in the same file."""
    waits = [size.waits for size in plan.sizes]
    with matplotlib.rc_context(
        {"svg.hashsalt": "telzino", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        for axes, (title, value) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            for name in CONTENDERS:
                axes.plot(
                    waits, [found.median(each, name, value) for each in waits], label=name, **STYLES[name]
                )
            axes.set(title=title, xlabel="waits in one triggerer", xscale="log", yscale="log")
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.grid(alpha=0.3)
        figure.axes[1].legend(loc="upper left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
