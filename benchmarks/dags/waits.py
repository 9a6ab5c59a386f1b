"""A DAG for each contender: the same mapped waits, each in its own way.

``BENCH_CALLS`` names a JSON file: for each DAG the agent and id of its calls, and the interval.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.http.sensors.http import HttpSensor

from airflow_provider_telzino.sensors.call import TelzinoCallSensor

BENCH = json.loads(Path(os.environ["BENCH_CALLS"]).read_text())
SHARED: dict[str, Any] = {"task_id": "wait", "poke_interval": BENCH["interval"], "timeout": 1800}

for dag_id, calls in BENCH["calls"].items():
    endpoints = [f"ended/{agent_id}/{call_id}" for agent_id, call_id, _ in calls]
    with DAG(dag_id, schedule=None, max_active_tasks=len(calls)):
        contender = dag_id.removeprefix("warm_up_")
        if contender == "ours":
            TelzinoCallSensor.partial(telzino_conn_id="bench_telzino", **SHARED).expand_kwargs(
                [{"agent_id": agent_id, "call_id": call_id} for agent_id, call_id, _ in calls]
            )
        elif contender == "HttpSensor_deferrable":
            # It defers only without a check of the answer: it waits while that is a 404.
            HttpSensor.partial(http_conn_id="bench_http", deferrable=True, **SHARED).expand(
                endpoint=endpoints
            )
        elif contender == "HttpSensor_reschedule":
            HttpSensor.partial(http_conn_id="bench_http", mode="reschedule", **SHARED).expand(
                endpoint=endpoints
            )
