"""Run the example DAGs with ``dag.test()``, in a process of its own; print the results.

``dag.test()`` changes much of the process that it runs in, hence not in pytest's own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, MAGIC_NUMBERS, Sandbox

RESULT_MARK = "RESULT "
"""Begins the line with the results. Airflow may print more after it, when the process ends."""
EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"


def zone_at_noon() -> str:
    """Return a time zone in which it is noon now, so that people may be called there."""
    return f"Etc/GMT{datetime.now(timezone.utc).hour - 12:+d}"  # whose sign is the opposite of what it seems


PLACING: dict[str, dict[str, Any]] = {
    "example_telzino_place_call": {"to_number": MAGIC_NUMBERS["completed"], "crm_id": "123"},
    "example_telzino_redial": {"to_number": MAGIC_NUMBERS["completed"], "timezone": zone_at_noon()},
    "example_telzino_call_contacts": {
        "to_numbers": [MAGIC_NUMBERS["completed"], MAGIC_NUMBERS["busy"]],
        "timezone": zone_at_noon(),
    },
}
"""Those that place calls, and with what they're run."""


AIRFLOW_3 = "from airflow.sdk import Param, dag, task"
AIRFLOW_2 = "from airflow.decorators import dag, task; from airflow.models.param import Param"


def example_dag(name: str) -> Any:
    """Load an example DAG; on Airflow 2.11 with the imports that it has there."""
    path = EXAMPLES / f"{name}.py"
    source = path.read_text()
    if importlib.util.find_spec("airflow.sdk") is None:
        source = source.replace(AIRFLOW_3, AIRFLOW_2)
    names: dict[str, Any] = {"__name__": name, "__file__": str(path)}
    exec(compile(source, path, "exec"), names)  # noqa: S102  # our own file
    return names[name]()


def fields(sandbox: Sandbox) -> dict[str, Any]:
    """Return the fields of the connection to a sandbox."""
    extra = {"agent_id": DEFAULT_AGENT_ID}
    return {"conn_type": "telzino", "host": sandbox.url, "password": ACCESS_TOKEN, "extra": extra}


def connect_by_environment(sandbox: Sandbox) -> None:
    """Set the connection as an environment variable."""
    os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = json.dumps(fields(sandbox))


def connect_by_database(sandbox: Sandbox) -> None:
    """Set the connection in Airflow's database, where most users have it."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        connection = Connection(conn_id="telzino_default", **fields(sandbox))  # noqa: AIR311  # the database's
        session.add(connection)


def run_example(name: str, conf: dict[str, Any]) -> dict[str, Any]:
    """Run one example; return the states of run and tasks, and what the tasks pushed."""
    run = example_dag(name).test(run_conf=conf)
    tasks = {
        ti.task_id + (f"[{ti.map_index}]" if ti.map_index >= 0 else ""): ti for ti in run.get_task_instances()
    }
    return {
        "state": run.state,
        "tasks": {task: ti.state for task, ti in tasks.items()},
        "pushed": {
            task: ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index) for task, ti in tasks.items()
        },
    }


def finish_after_the_first_poll(sandbox: Sandbox, call_id: str, status: str) -> None:
    """End the call as soon as the task has polled it once, so that the task has something to wait for."""
    while not any(call_id in request.path for request in sandbox.requests):
        time.sleep(0.05)
    sandbox.finish(call_id, status)


def main() -> None:
    """Run the waiting example for each status that the arguments name, then those that place calls."""
    results: dict[str, Any] = {}
    with Sandbox() as sandbox:
        connect_by_database(sandbox)
        for status in sys.argv[1:]:
            call = sandbox.add_call("in_progress")
            arguments = (sandbox, call["id"], status)
            threading.Thread(target=finish_after_the_first_poll, args=arguments, daemon=True).start()
            result = run_example("example_telzino_wait_for_call", {"call_id": call["id"]})
            results[status] = result | {"sandbox": sandbox.call(call["id"])}
    for name, conf in PLACING.items():
        with Sandbox(speed=20) as sandbox:
            connect_by_environment(sandbox)
            results[name] = run_example(name, conf) | {"calls": sandbox.calls}
    print(RESULT_MARK + json.dumps(results, default=str))


if __name__ == "__main__":
    main()
