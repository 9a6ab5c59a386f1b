"""Airflow's own way to grow: Celery with Redis and PostgreSQL, two workers and two triggerers."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy

from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from devtools.processes import ProcessFamily
from devtools.servers import PostgresServer, RedisServer
from tests.integration.stage import DAGS_FOLDER, stage
from tests.programs import needs

pytestmark = [pytest.mark.integration, needs("initdb", "postgres", "redis-server")]

WAITS = 200
ENDINGS = ("slow_queue", "no_answer", "busy", "no_such_number")
TIMEOUT = 900  # seconds


def celery_settings(postgres: PostgresServer, redis: RedisServer) -> dict[str, str]:
    """Return the settings that make it grow, but for the number of processes."""
    return {
        "AIRFLOW__CELERY__BROKER_URL": redis.url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.url}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": "3",
        "AIRFLOW__CORE__PARALLELISM": "32",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
    }


def test_200_mapped_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every wait ends with its call's record, at its first try, and all four processes took their share."""
    family = ProcessFamily()
    with (
        PostgresServer(family) as postgres,
        RedisServer(family) as redis,
        stage(
            tmp_path / "airflow",
            speed=4,
            dags_folder=DAGS_FOLDER / "celery",
            executor="CeleryExecutor",
            sql_alchemy_conn=postgres.url,
            extra_env=celery_settings(postgres, redis),
            family=family,
        ) as (airflow, sandbox),
    ):
        airflow.start("triggerer-2", "triggerer")
        for number in (1, 2):
            airflow.start(f"worker-{number}", "worker", "--celery-hostname", f"worker-{number}@%h")
        airflow.wait_for_dag("many_waits")
        numbers = [MAGIC_NUMBERS[name] for name in ENDINGS]
        calls = [sandbox.place_call(numbers[index % 4], "", {}) for index in range(WAITS)]
        started = time.monotonic()

        run_id = airflow.api.trigger("many_waits", {"calls": calls})
        held_by: Counter[int] = Counter()
        engine = sqlalchemy.create_engine(postgres.url)
        while airflow.api.dag_run("many_waits", run_id)["state"] not in ("success", "failed"):
            airflow.family.check()
            assert time.monotonic() - started < TIMEOUT
            with engine.connect() as connection:
                rows = connection.execute(
                    sqlalchemy.text("select id, triggerer_id from trigger where triggerer_id is not null")
                )
                held_by.update(row.triggerer_id for row in rows)
            time.sleep(1)
        took = time.monotonic() - started

        tasks = [
            task for task in airflow.api.task_instances("many_waits", run_id) if task["task_id"] == "wait"
        ]
        statuses = airflow.api.xcom("many_waits", run_id, "statuses")
        records = {
            task["map_index"]: airflow.api.xcom("many_waits", run_id, "wait", map_index=task["map_index"])
            for task in tasks
        }
        truth = [sandbox.call_record(call_id) for call_id in calls]
        ran_by = {
            name: len(
                set(re.findall(r"execute_workload\[([0-9a-f-]{36})\]", airflow.log_of(name).read_text()))
            )
            for name in ("worker-1", "worker-2")
        }
        engine.dispose()

    with capsys.disabled():
        print(f"\n{WAITS} waits in {took:.0f} s; task runs by worker: {ran_by}; looks held: {dict(held_by)}")
    assert Counter(task["state"] for task in tasks) == {"success": WAITS}
    assert {task["try_number"] for task in tasks} == {1}
    assert [records[index] for index in range(WAITS)] == truth
    assert statuses == {record["id"]: record["status"] for record in truth}
    assert set(statuses.values()) == {"completed", "no_answer", "busy", "failed"}
    assert min(ran_by.values()) > 0
    assert len(held_by) == 2
