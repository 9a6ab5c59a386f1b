"""``python -m benchmarks.whole_tasks [--quick]``: the CPU time that mapped waits cost a whole Airflow.

All processes of an Airflow on PostgreSQL are counted, from the trigger of a DAG run to its end, minus what an
idle Airflow uses in the same time. The database and the server of the calls are not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.cpu_time import cpu_seconds
from benchmarks.tables import at_most, setting, table, target_table, write_into_docs
from benchmarks.worlds import TOKEN, WorldHandle, server, world
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ROOT, ProcessFamily
from devtools.servers import postgres_server

HOME = ROOT / ".work" / "bench" / "whole_tasks"
DAGS_FOLDER = ROOT / "benchmarks" / "dags"

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

COMPONENTS = {
    "workers": ["scheduler's descendants"],
    "scheduler": ["scheduler"],
    "API server": ["api-server", "api-server's descendants"],
    "triggerer": ["triggerer", "triggerer's descendants"],
}
"""The columns of CPU seconds, and the processes in each. The DAG processor parses its files before."""

INTERVAL = 10.0
"""Seconds between two polls."""
SETTLE = 5.0
"""Seconds in which Airflow finishes its own work after a DAG run."""
RUN_TIMEOUT = 1200.0
WARM_UP_WAITS = 8
"""As many as Airflow runs at the same time: its executor starts a process for each, once."""


@dataclass(frozen=True)
class Cost:
    """What a DAG run cost, minus what an idle Airflow uses."""

    seconds: float
    by_component: dict[str, float]
    """CPU seconds."""
    requests: int

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes."""
        return sum(self.by_component.values())

    def of(self, column: str) -> float:
        """CPU seconds of the processes in a column of the table."""
        return sum(self.by_component[process] for process in COMPONENTS[column])


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
        airflow = stack.enter_context(_airflow(url, worlds | warm_up))
        idle = _idle_rate(airflow, warm_up, lasts)
        costs = {}
        for name, calls in worlds.items():
            _say(f"{waits} waits of {lasts:g} s: {name}")
            costs[name] = _run(airflow, name, calls, idle)
    printed = "\n\n".join([*_tables(costs, waits, idle), setting()])
    print(printed)
    if not quick:
        write_into_docs("whole_tasks", printed)
    return 0


@contextlib.contextmanager
def _airflow(url: str, worlds: dict[str, WorldHandle]) -> Iterator[AirflowInstance]:
    """Start an Airflow whose processes are a family of their own, without those of its database."""
    shutil.rmtree(HOME, ignore_errors=True)
    calls_file = HOME / "calls.json"
    host, port = url.removeprefix("http://").split(":")
    _say("Airflow starts")
    with (
        ProcessFamily() as database_family,
        postgres_server(database_family) as postgres,
        AirflowInstance(
            HOME,
            dags_folder=DAGS_FOLDER,
            sql_alchemy_conn=postgres.url,
            extra_env={
                "BENCH_CALLS": str(calls_file),
                "PYTHONPATH": str(ROOT),
                # Parsing all DAG files once more or less would hide what a wait costs.
                "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
            },
        ) as airflow,
    ):
        calls = {name: there.calls for name, there in worlds.items()}
        calls_file.write_text(json.dumps({"interval": INTERVAL, "calls": calls}))
        airflow.start_all()
        airflow.add_connection("bench_telzino", "telzino", host=url, password=TOKEN)
        airflow.add_connection("bench_http", "http", host=host, port=int(port))
        for name in worlds:
            airflow.wait_for_dag(name)
        yield airflow


def _idle_rate(airflow: AirflowInstance, warm_up: Iterable[str], seconds: float) -> dict[str, float]:
    """Return the CPU seconds per second of an idle Airflow, once all its processes have started."""
    _say("warm-up")
    runs = {name: airflow.api.trigger(name) for name in warm_up}
    for name, run_id in runs.items():
        airflow.wait_for_run(name, run_id, RUN_TIMEOUT)
    time.sleep(SETTLE)
    _say("idle")
    started, before = time.monotonic(), cpu_seconds(airflow.family)
    over = started + seconds
    airflow.wait_until(
        # The API is polled as often as during a run.
        lambda: airflow.api.run_state(name, run_id) and time.monotonic() > over,
        "the end of the idle time",
        2 * seconds,
    )
    used, took = cpu_seconds(airflow.family), time.monotonic() - started
    return {component: (used[component] - before[component]) / took for component in used}


def _run(airflow: AirflowInstance, name: str, calls: WorldHandle, idle: dict[str, float]) -> Cost:
    began, started, before = time.time(), time.monotonic(), cpu_seconds(airflow.family)
    run_id = airflow.api.trigger(name)
    if airflow.wait_for_run(name, run_id, RUN_TIMEOUT) != "success":
        raise RuntimeError(f"{name}: {airflow.api.task_states(name, run_id)}")
    took = time.monotonic() - started
    time.sleep(SETTLE)
    used, whole = cpu_seconds(airflow.family), time.monotonic() - started
    requests = int(calls.summary(began, time.time())["requests"])
    extra = {component: used[component] - before[component] - idle[component] * whole for component in idle}
    return Cost(took, extra, requests)


def _tables(costs: dict[str, Cost], waits: int, idle: dict[str, float]) -> Iterator[str]:
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
    yield f"An idle Airflow uses {sum(idle.values()) * 60:.1f} s of CPU per minute, which is subtracted."


def _say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%X')}  {what} ...\n")


if __name__ == "__main__":
    sys.exit(main())
