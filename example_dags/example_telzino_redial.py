"""Call somebody until they answer: up to four times, half an hour apart, from 9:00 to 20:00 of their time.

One task does all of it, without a worker between the calls. Airflow's retries are for crashes and outages:
they continue with the call that the task has placed.

- **Needs** the connection `telzino_default` only. It calls a real person, unless that leads to a sandbox.
- **Start it** with a phone number, and the callee's time zone.
- **Change** after which outcomes, how often and when to call again (`redial_on`, `max_attempts`,
  `redial_delay`), the `calling_hours`, and what follows: `confirmed`, `give_up`.
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
    doc_md=__doc__,  # the web interface shows it
    params={
        "to_number": Param(type="string", pattern="^[+][1-9][0-9]{1,14}$", description="E.164."),
        "timezone": Param("America/New_York", type="string", description="Of the callee."),
    },
)
def example_telzino_redial() -> None:
    """Call, call again, and give up at last."""
    call = TelzinoPlaceCallOperator(
        task_id="call",
        to_number="{{ params.to_number }}",
        call_context="You are calling to confirm an appointment tomorrow at 2pm.",
        redial_on=["no_answer", "busy"],
        max_attempts=4,
        redial_delay=timedelta(minutes=30),
        calling_hours=("09:00", "20:00"),
        timezone="{{ params.timezone }}",
        fail_on=["no_answer", "busy", "failed"],  # the outcome of the last call
        retries=3,
        poll_interval=5,
    )

    @task
    def confirmed(record: dict[str, Any]) -> str:
        """Continue after a call that somebody answered."""
        return f"Call {record['id']} ended with {record['status']}."

    @task(trigger_rule="all_failed")
    def give_up() -> str:
        """Write a letter instead. The XCom ``attempts`` of the task ``call`` has all calls."""
        return "Nobody was reached."

    confirmed(call.output)  # type: ignore[arg-type]  # a task's output stands for what it returns
    call >> give_up()


example_telzino_redial()
