"""Our waits that begin and end in the triggerer, each a separate task: mapped ones can't begin there."""

from __future__ import annotations

from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from benchmarks.dag_calls import OURS, dags_of

for calls in dags_of("ours_both"):
    for index, call in enumerate(calls):
        TelzinoCallSensor(
            task_id=f"wait_{index}", end_from_trigger=True, start_from_trigger=True, **OURS, **call
        )
