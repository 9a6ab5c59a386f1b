"""A DAG run whose tasks begin and end in the triggerer, on a whole Airflow."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy

from airflow_provider_telzino.sandbox import CLIENT_ID, DEFAULT_AGENT_ID, Sandbox
from devtools.airflow_instance import AirflowInstance
from tests.support.integration.running_airflow import database_url, running_airflow

DAG_ID = "without_workers"
TIMEOUT = 300.0  # seconds for each step
PREFIX = "file-xcom:"  # of what Airflow stores for `FileXCom`
TO_NUMBER = "+15005550142"
QUICK_RECOVERY = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6"}
LIVE_CALLS = {"completed": "in_progress", "no_answer": "dialing", "busy": "dialing", "failed": "dialing"}
"""The calls that end while the tasks wait, and their status until then."""


@dataclass
class RunWithoutWorkers:
    """A finished DAG run of ``without_workers``, with the Airflow and the sandbox that it ran on."""

    airflow: AirflowInstance
    sandbox: Sandbox
    engine: sqlalchemy.Engine
    has_file_backend: bool
    tasks: frozenset[str]
    """Those that wait for a call."""
    calls: dict[str, str] = field(default_factory=dict)
    mapped: list[str] = field(default_factory=list)
    run_id: str = ""
    states: dict[str, str | None] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def worker_runs(self, dag_id: str, run_id: str) -> Counter[str]:
        """Return how often a worker has run each task, according to Airflow's audit log."""
        query = (
            "select task_id, map_index from log "
            "where event = 'running' and dag_id = :dag_id and run_id = :run_id"
        )
        with self.engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text(query), {"dag_id": dag_id, "run_id": run_id}).all()
        return Counter(task if index is None or index < 0 else f"{task}[{index}]" for task, index in rows)

    def log(self, task_id: str, map_index: int = -1) -> str:
        """Return the log of a task's first try."""
        return self.airflow.api.log(DAG_ID, self.run_id, task_id, map_index=map_index)

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task pushed, also if the XCom backend has stored it in a file."""
        value = self.airflow.api.xcom(dag_id, run_id, task_id, map_index=map_index)
        if not self.has_file_backend:
            return value
        return json.loads((self.airflow.home / "xcoms" / value.removeprefix(PREFIX)).read_text())

    def play(self) -> None:
        """Run the DAG; its calls end once all tasks wait for them."""
        add = self.sandbox.add_call
        self.calls = {name: str(add(status)["id"]) for name, status in LIVE_CALLS.items()}
        self.calls["long"] = str(add("in_progress")["id"])
        self.mapped = [str(add("dialing")["id"]) for _ in range(3)]
        self.airflow.api.request(
            "POST", "/variables", json={"key": "the_call", "value": self.calls["completed"]}
        )
        conf = {
            **self.calls,
            "none": "no-id-at-all",
            "mapped": self.mapped,
            "agent": DEFAULT_AGENT_ID,
            "to_number": TO_NUMBER,
            "folder": str(self.airflow.home),
        }
        self.run_id = self.airflow.api.trigger(DAG_ID, conf)
        self.airflow.wait_until(self._all_wait, "all tasks wait in the triggerer", TIMEOUT)
        self.airflow.wait_until(
            lambda: "is in_progress." in self.log("by_param"), "by_param has seen its call", TIMEOUT
        )
        for name in LIVE_CALLS:
            self.sandbox.finish(self.calls[name], name)
        for call_id in self.mapped:
            self.sandbox.finish(call_id, "completed")
        self.sandbox.finish(self.placed_calls()[0]["id"], "completed")
        self.airflow.wait_for_run(DAG_ID, self.run_id, TIMEOUT)
        self.states = self.airflow.api.task_states(DAG_ID, self.run_id)
        self.seen = self.xcom(DAG_ID, self.run_id, "seen")

    def placed_calls(self) -> list[dict[str, Any]]:
        """Return the calls that the DAG has placed."""
        return [call for call in self.sandbox.calls if call["to_number"] == TO_NUMBER]

    def _all_wait(self) -> bool:
        states = self.airflow.api.task_states(DAG_ID, self.run_id)
        at_once = {"late", "late_softly", "wrong_secret", "bad_id"}
        return {states.get(task) for task in self.tasks - at_once} == {"deferred"}


@contextlib.contextmanager
def run_without_workers(home: Path, database: str, tasks: frozenset[str]) -> Iterator[RunWithoutWorkers]:
    """Run the DAG: on SQLite with Airflow's own XComs, on PostgreSQL with a backend that writes files."""
    env = dict(QUICK_RECOVERY)
    if database == "postgresql":
        (home / "xcoms").mkdir(parents=True)
        (home / "config").mkdir()
        shutil.copy(Path(__file__).with_name("file_xcom.py"), home / "config")
        env["AIRFLOW__CORE__XCOM_BACKEND"] = "file_xcom.FileXCom"
        env["FILE_XCOM_FOLDER"] = str(home / "xcoms")
    with (
        Sandbox() as sandbox,
        running_airflow(home, DAG_ID, database=database, extra_env=env) as airflow,
    ):
        airflow.add_telzino_connection(sandbox.url)
        airflow.add_telzino_connection(sandbox.url, "telzino_wrong", login=CLIENT_ID, password="wrong")
        for dag_id in (DAG_ID, "killed_waits"):
            airflow.wait_for_dag(dag_id)
        engine = sqlalchemy.create_engine(database_url(airflow))
        run = RunWithoutWorkers(airflow, sandbox, engine, database == "postgresql", tasks)
        run.play()
        yield run
        engine.dispose()
