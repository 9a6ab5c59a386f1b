"""Tasks that place calls: once, whatever happens, and again after certain outcomes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, Variable, task

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator

COMMON: dict[str, Any] = {
    "task_id": "place",
    "to_number": "{{ params.to_number }}",
    "poll_interval": 1,
    "timeout": 300,
}
NUMBER = {"to_number": Param(type="string")}

with DAG("place_once", schedule=None, params=NUMBER):
    TelzinoPlaceCallOperator(**COMMON, retries=5, retry_delay=timedelta(seconds=1))

with DAG("place_again_on_clear", schedule=None, params=NUMBER):
    # A retry continues with the call that was placed after the last clear.
    TelzinoPlaceCallOperator(**COMMON, reattach=False, retries=5, retry_delay=timedelta(seconds=1))

with DAG("wait_on", schedule=None, params=NUMBER):
    # The call takes longer than the first wait: only a retry that continues waiting sees its end.
    TelzinoPlaceCallOperator(**COMMON | {"timeout": 4}, retries=20, retry_delay=timedelta(seconds=1))

with DAG("redial", schedule=None, params=NUMBER):
    TelzinoPlaceCallOperator(
        **COMMON,
        redial_on=["no_answer", "busy", "failed"],
        redial_delay=timedelta(seconds=1),
        max_attempts=3,
        fail_on=["no_answer", "busy", "failed"],
        retries=5,  # for crashes: no retry dials after an outcome
        retry_delay=timedelta(seconds=1),
    )

with DAG("place_mapped", schedule=None):

    @task
    def contacts() -> Any:
        """Return the numbers to call; a person may change them between two clears."""
        return Variable.get("contacts", deserialize_json=True)

    mapped: dict[str, Any] = {
        "task_id": "place",
        "telzino_conn_id": "telzino_mapped",
        "poll_interval": 1,
        "timeout": 300,
    }
    TelzinoPlaceCallOperator.partial(**mapped).expand(to_number=contacts())
