"""``python -m benchmarks.campaigns [--quick]``: what the calls of a campaign cost a whole Airflow.

Beside them, in the same Airflow: a mapped task for each call, which places it and waits for its end.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_telzino.placing.wave import MAX_IN_FLIGHT
from benchmarks.tables import Row, at_least, at_most, exactly, setting, table, target_table, write_into_docs
from benchmarks.whole_airflow import COMPONENTS, Cost, Peaks, WholeAirflow
from benchmarks.worlds import WorldHandle, server, world
from devtools.processes import ROOT

HOME = ROOT / ".work" / "bench" / "campaigns"

MAPPED, CAMPAIGN, AT_ONCE, EMPTY, LARGE = "mapped", "campaign", "at_once", "empty", "large"

POLL_INTERVAL = 10.0
"""Seconds."""
LATENCY = 0.05
"""Seconds that each answer takes where the time of dialling is measured."""
IDLE = 120.0
"""Seconds for which an idle Airflow is measured."""
MEGABYTE = 1e6
MAX_TRIGGER_BYTES = 65_535
"""What MySQL's column holds."""


@dataclass(frozen=True)
class Case:
    """A DAG that places calls.

    Its fields, but for ``world``, are what the DAG's file reads; see ``dag_calls.placing_dags_of``.
    """

    contender: str
    contacts: int
    world: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    cost: Cost
    placed: Mapping[str, float]
    peaks: Peaks


def cases(quick: bool) -> dict[str, Case]:
    """Return what is run, by the id of its DAG."""
    share = 5 if quick else 1
    usual = {"placed_last": (20, 40)}
    return {
        EMPTY: Case(EMPTY, 1),
        MAPPED: Case(MAPPED, 50 // share, usual),
        CAMPAIGN: Case(CAMPAIGN, 1_000 // share, usual, {"max_active_calls": 100}),
        AT_ONCE: Case(CAMPAIGN, 1_000 // share, usual | {"latency": LATENCY}, {"max_active_calls": 1_000}),
        LARGE: Case(CAMPAIGN, 10_000 // share, {"placed_last": (1, 5)}, {"max_active_calls": 1_000}),
    }


WARM_UP = {
    # As many as Airflow runs at the same time: its executor starts a process for each, once.
    "warm_up_mapped": Case(MAPPED, 8, {"placed_last": (1, 1)}),
    "warm_up_campaign": Case(CAMPAIGN, 8, {"placed_last": (1, 1)}),
}


def main() -> int:
    """Run it. The exit code says whether everything worked, not whether it was fast."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    quick = parser.parse_args().quick
    chosen = cases(quick)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server())
        worlds = {
            name: stack.enter_context(world(url, waits=0, **case.world))
            for name, case in (chosen | WARM_UP).items()
        }
        bench = {
            "interval": POLL_INTERVAL,
            "placing": {name: _for_dag(case, worlds[name]) for name, case in (chosen | WARM_UP).items()},
        }
        airflow = stack.enter_context(WholeAirflow.started(HOME, url, worlds, bench))
        airflow.warm_up(WARM_UP, IDLE)
        found = {name: _run(airflow, name, case, worlds[name]) for name, case in chosen.items()}
    printed = "\n\n".join(
        [target_table(_targets(found, chosen)), _costs(found, chosen), airflow.idle_text(), setting()]
    )
    print(printed)
    if not quick:
        write_into_docs("campaigns", printed)
    return 0


def _for_dag(case: Case, there: WorldHandle) -> dict[str, Any]:
    arguments = {"agent_id": there.agents[0], **case.arguments}
    return {"contender": case.contender, "contacts": case.contacts, "arguments": arguments}


def _run(airflow: WholeAirflow, name: str, case: Case, there: WorldHandle) -> Outcome:
    if name not in (EMPTY, LARGE):
        return Outcome(airflow.run(name, there), there.placed(), Peaks())
    with airflow.sampled() as peaks:
        return Outcome(airflow.run(name, there), there.placed(), peaks)


def _targets(found: Mapping[str, Outcome], run: Mapping[str, Case]) -> Iterator[Row]:
    per_call = {name: found[name].cost.cpu / run[name].contacts for name in (MAPPED, CAMPAIGN)}
    calls, active = run[CAMPAIGN].contacts, run[CAMPAIGN].arguments["max_active_calls"]
    what = f"campaign of {calls:,}, {active} live"
    ratio = per_call[MAPPED] / per_call[CAMPAIGN]
    yield at_least("CPU of all processes a call: a mapped task relative to a campaign", 30, ratio, " ×")
    yield at_most(f"worker runs, {what}", calls / (active / 10), found[CAMPAIGN].cost.worker_runs)
    floor = run[AT_ONCE].contacts * LATENCY / MAX_IN_FLIGHT
    what = f"{MAX_IN_FLIGHT} at a time, {1000 * LATENCY:g} ms each: relative to {floor:g} s"
    what = f"time to dial {run[AT_ONCE].contacts:,} contacts, {what}"
    yield at_most(what, 1.5, found[AT_ONCE].placed["seconds"] / floor, " ×")
    what = f"{run[LARGE].contacts:,} contacts"
    memory = (found[LARGE].peaks.worker_bytes - found[EMPTY].peaks.worker_bytes) / MEGABYTE
    yield at_most(f"peak memory of the worker above an empty task, {what}", 400, memory, " MB")
    trigger = found[LARGE].peaks.trigger_bytes
    yield at_most(f"arguments of a trigger, as stored, {what}", MAX_TRIGGER_BYTES, trigger, " B")
    for name in (CAMPAIGN, AT_ONCE, LARGE):
        yield exactly(f"calls placed, {name}", run[name].contacts, found[name].placed["calls"])
        most = run[name].arguments["max_active_calls"]
        yield at_most(f"calls live at the same time, {name}", most, found[name].placed["most_live"])


def _costs(found: Mapping[str, Outcome], run: Mapping[str, Case]) -> str:
    head = [
        "contender",
        "calls",
        "CPU ms a call",
        *COMPONENTS,
        "worker runs",
        "rows",
        "requests a call",
        "DAG run, s",
    ]
    rows = []
    for name, outcome in found.items():
        if name == EMPTY:
            continue
        cost, calls = outcome.cost, run[name].contacts
        cpu = [cost.cpu, *map(cost.of, COMPONENTS)]
        rows.append(
            [
                *(name, f"{calls:,}"),
                *(f"{1000 * seconds / calls:.1f}" for seconds in cpu),
                *(
                    f"{cost.worker_runs:,}",
                    f"{cost.rows:,}",
                    f"{cost.requests / calls:.3g}",
                    f"{cost.seconds:.0f}",
                ),
            ]
        )
    return table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
