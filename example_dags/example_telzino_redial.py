"""Call somebody until they answer: up to four times, half an hour apart.

A retry of the task dials again only if its last call ended in a status of ``fail_on``. After a crash or an
outage it goes on with the call that it has placed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    params={"to_number": Param(type="string", pattern="^[+][1-9][0-9]{1,14}$", description="E.164.")},
)
def example_telzino_redial() -> None:
    """Call, call again, and give up at last."""
    call = TelzinoPlaceCallOperator(
        task_id="call",
        to_number="{{ params.to_number }}",
        call_context="You are calling to confirm an appointment tomorrow at 2pm.",
        fail_on=["no_answer", "busy"],
        retries=3,
        retry_delay=timedelta(minutes=30),
        poll_interval=5,
    )

    @task
    def confirmed(record: dict[str, Any]) -> str:
        """Go on after a call that somebody answered, or that could not be put through."""
        return f"Call {record['id']} ended with {record['status']}."

    @task(trigger_rule="all_failed")
    def give_up() -> str:
        """Write a letter instead. The record of the last call is in the XCom of ``call``."""
        return "Nobody was reached."

    confirmed(call.output)  # type: ignore[arg-type]  # a task's output stands for what it returns
    call >> give_up()


example_telzino_redial()
