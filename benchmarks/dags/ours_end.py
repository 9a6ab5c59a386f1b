"""Our mapped waits, which begin on a worker and end in the triggerer."""

from __future__ import annotations

from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from benchmarks.dag_calls import OURS, dags_of

for calls in dags_of("ours_end"):
    TelzinoCallSensor.partial(task_id="wait", end_from_trigger=True, **OURS).expand_kwargs(calls)
