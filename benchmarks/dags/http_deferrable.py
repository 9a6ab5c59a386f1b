"""The HTTP provider's mapped waits in the triggerer.

It can defer only without a check of the answer's body: it waits while the answer is a 404.
"""

from __future__ import annotations

from airflow.providers.http.sensors.http import HttpSensor

from benchmarks.dag_calls import SHARED, dags_of, endpoints

for calls in dags_of("HttpSensor_deferrable"):
    HttpSensor.partial(task_id="wait", http_conn_id="bench_http", deferrable=True, **SHARED).expand(
        endpoint=endpoints(calls)
    )
