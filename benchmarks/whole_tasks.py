"""``python -m benchmarks.whole_tasks [--quick]``: the CPU time that mapped waits cost a whole Airflow."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from benchmarks.tables import at_most, setting, table, target_table, write_into_docs
from benchmarks.whole_airflow import COMPONENTS, Cost, WholeAirflow, say
from benchmarks.worlds import server, world
from devtools.processes import ROOT

HOME = ROOT / ".work" / "bench" / "whole_tasks"

OURS, OURS_END, OURS_BOTH = "ours", "ours_end", "ours_both"
DEFERRABLE, RESCHEDULE = "HttpSensor_deferrable", "HttpSensor_reschedule"
CONTENDERS = (OURS_BOTH, OURS_END, OURS, DEFERRABLE, RESCHEDULE)
"""The ids of their DAGs, the slowest last."""

TARGETS = (
    (OURS, DEFERRABLE, 0.6),
    (OURS, RESCHEDULE, 0.25),
    (OURS_END, DEFERRABLE, 0.35),
    (OURS_BOTH, DEFERRABLE, 0.17),
)
"""Contender, the one it is compared with, and the ratio of CPU that is allowed."""

INTERVAL = 10.0
"""Seconds between two polls."""
WARM_UP_WAITS = 8
"""As many as Airflow runs at the same time: its executor starts a process for each, once."""


def main() -> int:
    """Run it. The exit code says whether everything worked, not whether it was fast."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_tasks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter waits")
    quick = parser.parse_args().quick
    waits, lasts = (10, 20.0) if quick else (50, 60.0)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server())
        worlds = {name: stack.enter_context(world(url, waits=waits, lasts=lasts)) for name in CONTENDERS}
        warm_up = {
            f"warm_up_{name}": stack.enter_context(world(url, waits=WARM_UP_WAITS, lasts=1))
            for name in CONTENDERS
        }
        calls = {name: there.calls for name, there in (worlds | warm_up).items()}
        bench = {"interval": INTERVAL, "calls": calls}
        airflow = stack.enter_context(WholeAirflow.started(HOME, url, calls, bench))
        airflow.warm_up(warm_up, lasts)
        say(f"{waits} waits of {lasts:g} s")
        costs = {name: airflow.run(name, there) for name, there in worlds.items()}
    printed = "\n\n".join([*_tables(costs, waits), airflow.idle_text(), setting()])
    print(printed)
    if not quick:
        write_into_docs("whole_tasks", printed)
    return 0


def _tables(costs: dict[str, Cost], waits: int) -> Iterator[str]:
    ours = costs[OURS]
    yield target_table(
        at_most(
            f"{contender}: CPU of all processes per wait, relative to {name}",
            limit,
            costs[contender].cpu / costs[name].cpu,
            " ×",
        )
        for contender, name, limit in TARGETS
    )
    yield table(
        ["contender", "CPU s per wait", "relative to ours", *COMPONENTS, "requests per wait", "DAG run, s"],
        [
            [
                *(name, f"{cost.cpu / waits:.2f}", f"{cost.cpu / ours.cpu:.3g} ×"),
                *(f"{cost.of(column) / waits:.2f}" for column in COMPONENTS),
                *(f"{cost.requests / waits:.3g}", f"{cost.seconds:.0f}"),
            ]
            for name, cost in costs.items()
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
