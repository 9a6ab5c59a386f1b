"""One Airflow for each database, shared by the tests that only look at what became of a DAG run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.sandbox_process import SandboxProcess
from devtools.servers import PostgresServer
from tests.integration.leaks import Watcher
from tests.integration.stage import DAGS_FOLDER, stage
from tests.programs import needs

DAG_ID = "end_to_end"
CALL_CONTEXT = "You are calling Wilhelmina about her appointment."
NUMBERS = {
    "completed": MAGIC_NUMBERS["slow_queue"],  # long enough that a slow machine's tasks see it go on
    "no_answer": MAGIC_NUMBERS["no_answer"],
    "busy": MAGIC_NUMBERS["busy"],
    "failed": MAGIC_NUMBERS["no_such_number"],
    "long": MAGIC_NUMBERS["long_call"],
}


@dataclass
class FinishedRun:
    """A DAG run that waited in every way, when it is over; Airflow still runs."""

    airflow: AirflowInstance
    sandbox: SandboxProcess
    watcher: Watcher
    run_id: str = ""
    calls: dict[str, str] = field(default_factory=dict)
    """The call's id, by the outcome that it has."""
    mapped: list[str] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The task instances, by task id; a mapped one as ``task_id[index]``."""

    def play(self, mapped: int) -> None:
        """Place the calls, run the DAG, and wait for its end."""
        place = self.sandbox.place_call
        self.calls = {name: place(number, CALL_CONTEXT, {}) for name, number in NUMBERS.items()}
        endings = [NUMBERS[name] for name in ("completed", "no_answer", "busy", "failed")]
        self.mapped = [place(endings[index % 4], CALL_CONTEXT, {}) for index in range(mapped)]
        self.airflow.wait_for_dag(DAG_ID)
        with self.watcher.watching():
            self.run_id = self.airflow.api.trigger(DAG_ID, {**self.calls, "mapped": self.mapped})
            self.airflow.wait_for_run(DAG_ID, self.run_id, timeout=400)
        for task in self.airflow.api.task_instances(DAG_ID, self.run_id):
            index = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
            self.tasks[task["task_id"] + index] = task

    def state(self, task: str) -> str:
        """Return how a task ended."""
        return str(self.tasks[task]["state"])

    def xcom(self, task_id: str, map_index: int = -1) -> Any:
        """Return what a task pushed."""
        return self.airflow.api.xcom(DAG_ID, self.run_id, task_id, map_index=map_index)

    def log(self, task_id: str, try_number: int = 1) -> str:
        """Return a task's log, as the web interface shows it."""
        return self.airflow.api.log(DAG_ID, self.run_id, task_id, try_number)

    def record(self, outcome: str) -> dict[str, Any]:
        """Return the sandbox's record of a call."""
        return self.sandbox.call_record(self.calls[outcome])


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("sqlite", marks=[pytest.mark.slow, pytest.mark.xdist_group("end to end")]),
        pytest.param("postgresql", marks=[pytest.mark.integration, needs("initdb", "postgres")]),
    ],
)
def finished_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FinishedRun]:
    """The DAG run, on SQLite with 8 mapped waits and on PostgreSQL with 50."""
    home: Path = tmp_path_factory.mktemp(request.param) / "airflow"
    family = ProcessFamily()
    with contextlib.ExitStack() as stack:
        stack.callback(family.stop)
        database = None
        if request.param == "postgresql":
            database = stack.enter_context(PostgresServer(family)).url
        airflow, sandbox = stack.enter_context(
            stage(
                home,
                speed=6,
                dags_folder=DAGS_FOLDER / "end_to_end",
                sql_alchemy_conn=database,
                family=family,
            )
        )
        url = database or airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        run = FinishedRun(airflow, sandbox, Watcher(url, airflow.env["AIRFLOW__CORE__FERNET_KEY"]))
        run.play(mapped=50 if database else 8)
        yield run
