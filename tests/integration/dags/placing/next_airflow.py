"""Tasks that place calls in ways that Airflow 3.4 has brought; on older ones, no DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import airflow.sdk
from airflow.sdk import DAG, ExceptionRetryPolicy, Param, RetryAction, RetryRule, task_group

from airflow_provider_telzino.exceptions import TelzinoError
from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator

COMMON: dict[str, Any] = {"task_id": "place", "to_number": "{{ params.to_number }}", "poll_interval": 1}
NUMBER = {"to_number": Param(type="string")}

if hasattr(airflow.sdk, "LoopDecision"):
    reschedule: dict[str, Any] = {"action": RetryAction("reschedule"), "max_reschedules": 100}
    same_try_again = RetryRule(TelzinoError, retry_delay=timedelta(seconds=1), **reschedule)

    with DAG("place_rescheduled", schedule=None, params=NUMBER):
        # Whatever goes wrong, the same try runs again. A wait takes several of them.
        TelzinoPlaceCallOperator(**COMMON, timeout=4, retry_policy=ExceptionRetryPolicy([same_try_again]))

    with DAG("place_in_loop", schedule=None, params=NUMBER):

        @task_group
        def calls() -> None:
            """Place one call in each iteration."""
            TelzinoPlaceCallOperator(**COMMON | {"task_id": "place"}, timeout=300)

        calls.loop(max_iterations=2)  # type: ignore[attr-defined]  # from 3.4
