"""Airflow scaled out: Celery with Redis and PostgreSQL, two workers and two triggerers.

``TELZINO_CRASH_ROUNDS=5`` has 200 waits instead of 60.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from airflow_provider_telzino.sandbox import Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.servers import postgres_server, redis_server
from tests.conftest import ReportCount
from tests.support.integration.running_airflow import running_airflow
from tests.support.programs import needs
from tests.support.rounds import ROUNDS

pytestmark = [pytest.mark.integration, needs("initdb", "postgres", "redis-server")]

DAG_ID = "many_waits"
WAITS = min(60 * ROUNDS, 200)
WORKERS = ("worker-1", "worker-2")
ENDINGS = ("completed", "no_answer", "busy", "failed")
STATES = {"completed": "success", "no_answer": "success", "busy": "success", "failed": "failed"}
"""The state of the task, by how its call ends."""
TIMEOUT = 900.0  # seconds for each of the two halves, on a busy machine


@contextlib.contextmanager
def celery_airflow(home: Path) -> Iterator[tuple[AirflowInstance, sqlalchemy.Engine]]:
    """Start an Airflow with two workers and two triggerers; yield it and its database."""
    with (
        ProcessFamily() as family,
        postgres_server(family) as postgres,
        redis_server(family) as redis_url,
        running_airflow(
            home,
            "celery",
            executor="CeleryExecutor",
            sql_alchemy_conn=postgres.url,
            family=family,
            extra_env={
                "AIRFLOW__CELERY__BROKER_URL": redis_url,
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.url}",
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": "3",
                "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(WAITS),
            },
        ) as airflow,
    ):
        airflow.start("triggerer-2", "triggerer")
        for worker in WORKERS:
            airflow.start(worker, "worker", "--celery-hostname", f"{worker}@%h")
        airflow.wait_for_dag(DAG_ID)
        engine = sqlalchemy.create_engine(postgres.url)
        yield airflow, engine
        engine.dispose()


def waits_by_triggerer(engine: sqlalchemy.Engine) -> dict[int, int]:
    """Return how many deferred tasks each triggerer holds, by the id of its job."""
    held = """
        select triggerer_id, count(*) from trigger join task_instance on task_instance.trigger_id = trigger.id
        where task_instance.state = 'deferred' and triggerer_id is not null group by triggerer_id
    """
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(sqlalchemy.text(held))}


def runs_of(airflow: AirflowInstance, worker: str) -> int:
    """Return how many task runs are in a worker's log."""
    return len(set(re.findall(r"execute_workload\[([0-9a-f-]{36})\]", airflow.log_of(worker).read_text())))


def test_many_mapped_waits(tmp_path: Path, report_count: ReportCount) -> None:
    """Two triggerers have all waits at the same time, and each ends once, with the right record."""
    with Sandbox() as sandbox, celery_airflow(tmp_path / "airflow") as (airflow, engine):
        airflow.add_telzino_connection(sandbox.url)
        # None ends before all tasks wait: a call that has ended at the first poll needs no triggerer.
        calls = [str(sandbox.add_call("in_progress")["id"]) for _ in range(WAITS)]
        started = time.monotonic()
        run_id = airflow.api.trigger(DAG_ID, {"calls": calls})
        airflow.wait_until(
            lambda: sum(waits_by_triggerer(engine).values()) == WAITS, "all waits are in a triggerer", TIMEOUT
        )
        all_held = time.monotonic()
        held = waits_by_triggerer(engine)

        for index, call_id in enumerate(calls):
            sandbox.finish(call_id, ENDINGS[index % len(ENDINGS)])
        airflow.wait_for_run(DAG_ID, run_id, TIMEOUT)

        ended = time.monotonic()
        waits = sorted(
            (task for task in airflow.api.task_instances(DAG_ID, run_id) if task["task_id"] == "wait"),
            key=lambda task: task["map_index"],
        )
        records = [airflow.api.xcom(DAG_ID, run_id, "wait", map_index=wait["map_index"]) for wait in waits]
        statuses = airflow.api.xcom(DAG_ID, run_id, "statuses")
        truth = [sandbox.call(call_id) for call_id in calls]
        runs = {worker: runs_of(airflow, worker) for worker in WORKERS}
        report_count(
            f"{WAITS} waits: all in a triggerer after {all_held - started:.0f} s, by triggerer: {held}; "
            f"all ended {ended - all_held:.0f} s later; task runs by worker: {runs}"
        )
        assert [wait["state"] for wait in waits] == [STATES[record["status"]] for record in truth]
        assert {airflow.api.needed_tries(wait) for wait in waits} == {1}
        assert records == truth
        assert statuses == {record["id"]: record["status"] for record in truth}
        assert Counter(statuses.values()) == dict.fromkeys(ENDINGS, WAITS // len(ENDINGS))
        assert len(held) == 2
        assert min(runs.values()) > 0
        again = sum(int(wait["try_number"]) - 1 for wait in waits)
        # Two for each wait, one for each of the other tasks.
        assert 2 * WAITS + 2 <= sum(runs.values()) <= 2 * WAITS + 2 + 2 * again
