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
        ours: dict[str, Any] = SHARED | {"telzino_conn_id": "bench_telzino"}
        given = [{"agent_id": agent_id, "call_id": call_id} for agent_id, call_id, _ in calls]
        if contender == "ours":
            TelzinoCallSensor.partial(**ours).expand_kwargs(given)
        elif contender == "ours_end":
            TelzinoCallSensor.partial(end_from_trigger=True, **ours).expand_kwargs(given)
        elif contender == "ours_both":  # Mapped tasks can't begin in the triggerer.
            for index, call in enumerate(given):
                arguments = ours | call | {"task_id": f"wait_{index}"}
                TelzinoCallSensor(end_from_trigger=True, start_from_trigger=True, **arguments)
        elif contender == "HttpSensor_deferrable":
            # It defers only without a check of the answer: it waits while that is a 404.
            HttpSensor.partial(http_conn_id="bench_http", deferrable=True, **SHARED).expand(
                endpoint=endpoints
            )
        elif contender == "HttpSensor_reschedule":
            HttpSensor.partial(http_conn_id="bench_http", mode="reschedule", **SHARED).expand(
                endpoint=endpoints
            )
