"""Run the example DAG with ``dag.test()`` for some outcomes, in a process of its own; print the results.

``dag.test()`` changes much of the process that it runs in, hence not in pytest's own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, Sandbox

EXAMPLE = Path(__file__).parent.parent / "example_dags" / "example_telzino_wait_for_call.py"

AIRFLOW_3 = "from airflow.sdk import Param, dag, task"
AIRFLOW_2 = "from airflow.decorators import dag, task; from airflow.models.param import Param"


def example_dag() -> Any:
    """Load the example DAG; on Airflow 2.11 with the imports that it has there."""
    source = EXAMPLE.read_text()
    if importlib.util.find_spec("airflow.sdk") is None:
        source = source.replace(AIRFLOW_3, AIRFLOW_2)
    names: dict[str, Any] = {"__name__": EXAMPLE.stem, "__file__": str(EXAMPLE)}
    exec(compile(source, EXAMPLE, "exec"), names)  # noqa: S102  # our own file
    return names["example_telzino_wait_for_call"]()


def finish_after_the_first_look(sandbox: Sandbox, call_id: str, status: str) -> None:
    """End the call as soon as the task has looked at it once, so that the task has something to wait for."""
    while not any(call_id in request.path for request in sandbox.requests):
        time.sleep(0.05)
    sandbox.finish(call_id, status)


def main() -> None:
    """For each status that the arguments name, run the DAG for a call that ends with it."""
    results: dict[str, Any] = {}
    with Sandbox() as sandbox:
        os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = json.dumps(
            {
                "conn_type": "telzino",
                "host": sandbox.url,
                "password": ACCESS_TOKEN,
                "extra": {"agent_id": DEFAULT_AGENT_ID},
            }
        )
        for status in sys.argv[1:]:
            dag = example_dag()
            call = sandbox.add_call("in_progress")
            arguments = (sandbox, call["id"], status)
            threading.Thread(target=finish_after_the_first_look, args=arguments, daemon=True).start()
            run = dag.test(run_conf={"call_id": call["id"]})
            tasks = {ti.task_id: ti for ti in run.get_task_instances()}
            results[status] = {
                "state": run.state,
                "tasks": {name: ti.state for name, ti in tasks.items()},
                "record": tasks["wait_for_call"].xcom_pull(task_ids="wait_for_call"),
                "sandbox": sandbox.call(call["id"]),
            }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
