"""A real Airflow on PostgreSQL, and what a DAG run costs it.

All its processes are counted, from the trigger of a DAG run to its end, minus what an idle Airflow uses in
the same time. The database and the server of the calls are not counted.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2 import sql

from benchmarks.cpu_time import cpu_seconds
from benchmarks.worlds import TOKEN, WorldHandle
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ROOT, ProcessFamily, descendants
from devtools.servers import postgres_server

DAGS_FOLDER = ROOT / "benchmarks" / "dags"

COMPONENTS = {
    "workers": ["scheduler's descendants"],
    "scheduler": ["scheduler"],
    "API server": ["api-server", "api-server's descendants"],
    "triggerer": ["triggerer", "triggerer's descendants"],
}
"""The columns of CPU seconds, and the processes in each. The DAG processor parses its files before."""

SETTLE = 5.0
"""Seconds in which Airflow finishes its own work after a DAG run."""
RUN_TIMEOUT = 1800.0
WORKER_RUN = "DAG bundles loaded"
"""What Airflow logs once in each worker run."""
SAMPLING = 0.1
"""Seconds between two samples of memory and triggers."""


@dataclass(frozen=True)
class Cost:
    """What a DAG run cost, minus what an idle Airflow uses."""

    seconds: float
    by_component: dict[str, float]
    """CPU seconds."""
    requests: int
    worker_runs: int
    rows: int
    """How many more there are in Airflow's database."""

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes."""
        return sum(self.by_component.values())

    def of(self, column: str) -> float:
        """CPU seconds of the processes in a column of the table."""
        return sum(self.by_component[process] for process in COMPONENTS[column])


@dataclass
class Peaks:
    """The largest values during a DAG run."""

    worker_bytes: int = 0
    """RSS of all worker processes together: those of the executor, which supervise, and the tasks' own."""
    trigger_bytes: int = 0
    """The arguments of a trigger, as Airflow stores them: encrypted."""


class WholeAirflow:
    """A running Airflow whose processes are a family of their own, without those of its database."""

    def __init__(self, airflow: AirflowInstance, database_url: str) -> None:
        self.idle: Mapping[str, float] = {}
        """CPU seconds per second of each process while Airflow does nothing."""
        self._airflow = airflow
        self._database_url = database_url.replace("+psycopg2", "")

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, home: Path, url: str, dag_ids: Iterable[str], bench: Mapping[str, Any]
    ) -> Iterator[WholeAirflow]:
        """Start an Airflow.

        Args:
            home: Its folder.
            url: The server of the calls.
            dag_ids: The DAGs to wait for.
            bench: What the DAG files read from the file that ``BENCH`` names.
        """
        shutil.rmtree(home, ignore_errors=True)
        bench_file = home / "bench.json"
        host, port = url.removeprefix("http://").split(":")
        say("Airflow starts")
        with (
            ProcessFamily() as database_family,
            postgres_server(database_family) as postgres,
            AirflowInstance(
                home,
                dags_folder=DAGS_FOLDER,
                sql_alchemy_conn=postgres.url,
                extra_env={
                    "BENCH": str(bench_file),
                    "PYTHONPATH": str(ROOT),
                    # Parsing all DAG files once more or less would hide what a wait costs.
                    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
                },
            ) as airflow,
        ):
            bench_file.write_text(json.dumps(bench))
            airflow.start_all()
            airflow.add_connection("bench_telzino", "telzino", host=url, password=TOKEN)
            airflow.add_connection("bench_http", "http", host=host, port=int(port))
            for dag_id in dag_ids:
                airflow.wait_for_dag(dag_id)
            yield cls(airflow, postgres.url)

    def warm_up(self, dag_ids: Iterable[str], seconds: float) -> None:
        """Let all processes start, and measure what Airflow uses when idle for some time."""
        say("warm-up")
        runs = {dag_id: self._airflow.api.trigger(dag_id) for dag_id in dag_ids}
        for dag_id, run_id in runs.items():
            self._airflow.wait_for_run(dag_id, run_id, RUN_TIMEOUT)
        time.sleep(SETTLE)
        say("idle")
        started, before = time.monotonic(), cpu_seconds(self._airflow.family)
        over = started + seconds
        self._airflow.wait_until(
            # The API is polled as often as during a run.
            lambda: self._airflow.api.run_state(dag_id, run_id) and time.monotonic() > over,
            "the end of the idle time",
            2 * seconds,
        )
        used, took = cpu_seconds(self._airflow.family), time.monotonic() - started
        self.idle = {component: (used[component] - before[component]) / took for component in used}

    def run(self, dag_id: str, calls: WorldHandle) -> Cost:
        """Run a DAG, and return what that cost."""
        say(dag_id)
        rows = self._rows()
        began, started, before = time.time(), time.monotonic(), cpu_seconds(self._airflow.family)
        run_id = self._airflow.api.trigger(dag_id)
        if self._airflow.wait_for_run(dag_id, run_id, RUN_TIMEOUT) != "success":
            raise RuntimeError(f"{dag_id}: {self._airflow.api.task_states(dag_id, run_id)}")
        took = time.monotonic() - started
        time.sleep(SETTLE)
        used, whole = cpu_seconds(self._airflow.family), time.monotonic() - started
        requests = int(calls.summary(began, time.time())["requests"])
        extra = {name: used[name] - before[name] - self.idle[name] * whole for name in self.idle}
        return Cost(took, extra, requests, self._worker_runs(dag_id), self._rows() - rows)

    def idle_text(self) -> str:
        """Say what was subtracted."""
        used = 60 * sum(self.idle.values())
        return f"An idle Airflow uses {used:.1f} s of CPU per minute, which is subtracted."

    @contextlib.contextmanager
    def sampled(self) -> Iterator[Peaks]:
        """Note the largest values in the meantime. Sampling costs CPU, though not that of Airflow."""
        peaks, over = Peaks(), threading.Event()
        sampler = threading.Thread(target=self._sample, args=(peaks, over))
        sampler.start()
        try:
            yield peaks
        finally:
            over.set()
            sampler.join()

    def _sample(self, peaks: Peaks, over: threading.Event) -> None:
        scheduler = self._airflow.process("scheduler").pid
        query = "SELECT coalesce(max(octet_length(kwargs)), 0) FROM trigger"
        with contextlib.closing(psycopg2.connect(self._database_url)) as database:
            database.autocommit = True
            while not over.wait(SAMPLING):
                worker_bytes = 0
                for process in descendants(scheduler):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        worker_bytes += process.memory_info().rss
                peaks.worker_bytes = max(peaks.worker_bytes, worker_bytes)
                with database.cursor() as cursor:
                    peaks.trigger_bytes = max(peaks.trigger_bytes, _number(cursor, query))

    def _worker_runs(self, dag_id: str) -> int:
        """Return how many worker runs the tasks of a DAG have had, which has been run once."""
        logs = (self._airflow.home / "logs" / f"dag_id={dag_id}").rglob("*.log")
        return sum(log.read_text(errors="replace").count(WORKER_RUN) for log in logs)

    def _rows(self) -> int:
        """Return how many rows all tables of Airflow's database have together."""
        with (
            contextlib.closing(psycopg2.connect(self._database_url)) as database,
            database.cursor() as cursor,
        ):
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            counts = [
                sql.SQL("(SELECT count(*) FROM {})").format(sql.Identifier(name))
                for (name,) in cursor.fetchall()
            ]
            return _number(cursor, sql.SQL("SELECT ") + sql.SQL(" + ").join(counts))


def _number(cursor: Any, query: str | sql.Composable) -> int:
    """Return the only value of a query's only row."""
    cursor.execute(query)
    return int(cursor.fetchone()[0])


def say(what: str) -> None:
    """Tell on the terminal what happens now."""
    sys.stderr.write(f"{time.strftime('%X')}  {what} ...\n")
