"""Tasks that place calls: once, whatever happens, and again after certain outcomes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, ExceptionRetryPolicy, Param, RetryAction, RetryRule

from airflow_provider_telzino.exceptions import (
    TelzinoBusyError,
    TelzinoCallFailedError,
    TelzinoNoAnswerError,
)
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
        fail_on=["no_answer", "busy", "failed"],
        retries=5,
        # For tries that no exception has ended: on a busy machine Airflow may consider a task dead that
        # resumes at once, and then applies no policy.
        retry_delay=timedelta(seconds=5),
        retry_policy=ExceptionRetryPolicy(
            rules=[
                RetryRule(TelzinoNoAnswerError, RetryAction.RETRY, retry_delay=timedelta(seconds=1)),
                RetryRule(TelzinoBusyError, RetryAction.RETRY, retry_delay=timedelta(seconds=2)),
                RetryRule(TelzinoCallFailedError, RetryAction.FAIL),
            ]
        ),
    )
