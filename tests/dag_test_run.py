"""Run the example DAG with ``dag.test()`` for some outcomes, in a process of its own; print the results.

``dag.test()`` changes much of the process that it runs in, hence not in pytest's own.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, DEFAULT_AGENT_ID, MAGIC_NUMBERS, Sandbox

EXAMPLE = Path(__file__).parent.parent / "example_dags" / "example_telzino_wait_for_call.py"
SPEED = 40.0  # a call of a minute takes a second and a half


def main() -> None:
    """Place a call for each outcome that the arguments name, and run the DAG for it."""
    results: dict[str, Any] = {}
    with Sandbox(speed=SPEED) as sandbox:
        os.environ["AIRFLOW_CONN_TELZINO_DEFAULT"] = json.dumps(
            {
                "conn_type": "telzino",
                "host": sandbox.url,
                "password": ACCESS_TOKEN,
                "extra": {"agent_id": DEFAULT_AGENT_ID},
            }
        )
        for outcome in sys.argv[1:]:
            dag = runpy.run_path(str(EXAMPLE))["example_telzino_wait_for_call"]()
            call = sandbox.place(MAGIC_NUMBERS[outcome])
            run = dag.test(run_conf={"call_id": call["id"]})
            tasks = {ti.task_id: ti for ti in run.get_task_instances()}
            results[outcome] = {
                "state": run.state,
                "tasks": {name: ti.state for name, ti in tasks.items()},
                "record": tasks["wait_for_call"].xcom_pull(task_ids="wait_for_call"),
                "sandbox": sandbox.call(call["id"]),
            }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
