"""For the crash tests: tasks that wait for the calls in the run's ``conf``, or for a call that they place."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.sandbox import MAGIC_NUMBERS
from airflow_provider_telzino.sensors.call import TelzinoCallSensor

WAITS = 6  # of one run
OWN_CALLS = ("completed", "no_answer")  # the outcomes of those that a run places itself
ENDLESS_WAITS = 2
TIMEOUT = 60  # seconds, of the waits for calls that don't end in time
INTERVAL = 2  # seconds between two polls
MANY = 500  # runs and tasks at the same time: no limit
CONN_ID = "{{ dag_run.conf['conn_id'] }}"


def wait(index: int, **arguments: object) -> None:
    """Wait for one call: with a sensor, or, every other time, with an operator."""
    which: dict[str, object] = {
        "task_id": f"wait_{index}",
        "call_id": f"{{{{ dag_run.conf['call_ids'][{index}] }}}}",
        "telzino_conn_id": CONN_ID,
    }
    if index % 2:
        TelzinoGetCallOperator(**which, poll_interval=INTERVAL, **arguments)  # type: ignore[arg-type]
    else:
        TelzinoCallSensor(**which, poke_interval=INTERVAL, **arguments)  # type: ignore[arg-type]


@dag(
    schedule=None,
    default_args={"retries": 9, "retry_delay": timedelta(seconds=1)},
    max_active_runs=MANY,
    max_active_tasks=MANY,
)
def waits() -> None:
    """Wait for calls that end."""
    for index in range(WAITS):
        wait(index)
    for name in OWN_CALLS:
        TelzinoPlaceCallOperator(
            task_id=f"call_{name}",
            to_number=MAGIC_NUMBERS[name],
            telzino_conn_id=CONN_ID,
            poll_interval=INTERVAL,
        )


@dag(schedule=None, max_active_runs=MANY, max_active_tasks=MANY)
def endless_waits() -> None:
    """Wait for calls that don't end in time, without retries: each would be a wait with a new timeout."""
    for index in range(ENDLESS_WAITS):
        wait(index, timeout=TIMEOUT)


waits()
endless_waits()
