"""Airflow's own way to grow: Celery with Redis and PostgreSQL, two workers and two triggerers."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from airflow_provider_telzino.sandbox import CLIENT_ID, CLIENT_SECRET, DEFAULT_AGENT_ID, Sandbox
from devtools.airflow_instance import AirflowInstance
from devtools.processes import ProcessFamily
from devtools.servers import PostgresServer, RedisServer
from tests.conftest import Tell
from tests.integration.stage import CONN_ID, DAGS_FOLDER
from tests.support.programs import needs

pytestmark = [pytest.mark.integration, needs("initdb", "postgres", "redis-server")]

DAG_ID = "many_waits"
WAITS = 200
WORKERS = ("worker-1", "worker-2")
ENDINGS = ("completed", "no_answer", "busy", "failed")
STATES = {"completed": "success", "no_answer": "success", "busy": "success", "failed": "failed"}
"""What becomes of the task, by how its call ends."""
TIMEOUT = 900.0  # seconds for each of the two halves, on a machine that is busy with other things


@contextlib.contextmanager
def grown_airflow(home: Path, sandbox: Sandbox) -> Iterator[tuple[AirflowInstance, sqlalchemy.Engine]]:
    """Start an Airflow with two workers and two triggerers; give it, and its database."""
    family = ProcessFamily()
    with contextlib.ExitStack() as stack:
        stack.callback(family.stop)
        postgres = stack.enter_context(PostgresServer(family))
        redis = stack.enter_context(RedisServer(family))
        settings = {
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.url}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "3",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(WAITS),
        }
        airflow = stack.enter_context(
            AirflowInstance(
                home,
                dags_folder=DAGS_FOLDER / "celery",
                executor="CeleryExecutor",
                sql_alchemy_conn=postgres.url,
                extra_env=settings,
                family=family,
            )
        )
        airflow.migrate()
        airflow.start_all()
        airflow.start("triggerer-2", "triggerer")
        for worker in WORKERS:
            airflow.start(worker, "worker", "--celery-hostname", f"{worker}@%h")
        airflow.wait_until_healthy()
        airflow.wait_for_dag(DAG_ID)
        body = {"connection_id": CONN_ID, "conn_type": "telzino", "host": sandbox.url, "login": CLIENT_ID}
        extra = json.dumps({"agent_id": DEFAULT_AGENT_ID})
        airflow.api.request("POST", "/connections", json={**body, "password": CLIENT_SECRET, "extra": extra})
        engine = sqlalchemy.create_engine(postgres.url)
        stack.callback(engine.dispose)
        yield airflow, engine


def waits_by_triggerer(engine: sqlalchemy.Engine) -> dict[int, int]:
    """Return how many deferred tasks each triggerer holds, by the id of its job."""
    held = """
        select triggerer_id, count(*) from trigger join task_instance on task_instance.trigger_id = trigger.id
        where task_instance.state = 'deferred' and triggerer_id is not null group by triggerer_id
    """
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(sqlalchemy.text(held))}


def runs_of(airflow: AirflowInstance, worker: str) -> int:
    """Return how many task runs a worker's log tells of."""
    return len(set(re.findall(r"execute_workload\[([0-9a-f-]{36})\]", airflow.log_of(worker).read_text())))


def test_200_mapped_waits(tmp_path: Path, tell: Tell) -> None:
    """200 waits are held at once, by both triggerers, and each ends with its record: once, and right."""
    with Sandbox() as sandbox, grown_airflow(tmp_path / "airflow", sandbox) as (airflow, engine):
        # None ends before all wait: a call that is over at the first look needs no triggerer.
        calls = [str(sandbox.add_call("in_progress")["id"]) for _ in range(WAITS)]
        started = time.monotonic()
        run_id = airflow.api.trigger(DAG_ID, {"calls": calls})
        airflow.wait_until(
            lambda: sum(waits_by_triggerer(engine).values()) == WAITS, "all waits are held", TIMEOUT
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
        tell(
            f"{WAITS} waits: all held after {all_held - started:.0f} s, by triggerer: {held}; "
            f"all ended {ended - all_held:.0f} s later; task runs by worker: {runs}"
        )
        assert [wait["state"] for wait in waits] == [STATES[record["status"]] for record in truth]
        assert {wait["try_number"] for wait in waits} == {1}
        assert records == truth
        assert statuses == {record["id"]: record["status"] for record in truth}
        assert Counter(statuses.values()) == dict.fromkeys(ENDINGS, WAITS // len(ENDINGS))
        assert len(held) == 2
        assert min(runs.values()) > 0
        assert sum(runs.values()) == 2 * WAITS + 2  # Two for each wait, one for each of the other tasks.
