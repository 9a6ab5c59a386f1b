"""Run the example DAG with ``dag.test()`` for some outcomes, in a process of its own; print the results.

``dag.test()`` changes much of the process that it runs in, hence not in pytest's own.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
import time
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, Sandbox

EXAMPLE = Path(__file__).parent.parent / "example_dags" / "example_telzino_wait_for_call.py"


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
            dag = runpy.run_path(str(EXAMPLE))["example_telzino_wait_for_call"]()
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
