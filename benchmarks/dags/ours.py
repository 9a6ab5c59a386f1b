"""Our mapped waits, which begin and end on a worker."""

from __future__ import annotations

from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from benchmarks.dag_calls import OURS, dags_of

for calls in dags_of("ours"):
    TelzinoCallSensor.partial(task_id="wait", **OURS).expand_kwargs(calls)
