"""The HTTP provider's mapped waits in mode reschedule: each poll is a worker run."""

from __future__ import annotations

from airflow.providers.http.sensors.http import HttpSensor

from benchmarks.dag_calls import SHARED, dags_of, endpoints

for calls in dags_of("HttpSensor_reschedule"):
    HttpSensor.partial(task_id="wait", http_conn_id="bench_http", mode="reschedule", **SHARED).expand(
        endpoint=endpoints(calls)
    )
