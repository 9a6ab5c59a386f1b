"""For the test of kills: a task reads contacts, and a mapped one calls them, again if need be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator

RULES: dict[str, Any] = {
    "redial_on": ["busy", "no_answer"],
    "max_attempts": 3,
    "redial_delay": timedelta(seconds=3),
    "fail_on": ["failed", "busy"],
}


@task
def numbers() -> list[str]:
    """Return the numbers to call, in the order of the run's ``conf``."""
    dag_run = get_current_context()["dag_run"]
    return [str(number) for number in (dag_run.conf or {})["numbers"]]


@dag(schedule=None, default_args={"retries": 99, "retry_delay": timedelta(seconds=1)}, max_active_tasks=100)
def mapped_contacts() -> None:
    """Call each contact. The retries are for crashes only, of which there are many."""
    TelzinoPlaceCallOperator.partial(task_id="place", **RULES, poll_interval=2).expand(to_number=numbers())


mapped_contacts()
