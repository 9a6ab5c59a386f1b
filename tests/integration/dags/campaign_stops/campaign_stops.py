"""A campaign that a person stops: it calls the contacts of a run's ``conf``, in waves or all at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator

WAVE = 10


def contacts(dag_run: Any) -> Any:
    """Return the numbers to call."""
    return dag_run.conf["numbers"]


COMMON: dict[str, Any] = {
    "task_id": "campaign",
    "contacts": contacts,
    "redial_on": (),
    "poll_interval": 1,
    "retries": 5,
    "retry_delay": timedelta(seconds=1),
}

with DAG("all_at_once", schedule=None):
    TelzinoCampaignOperator(**COMMON, max_active_calls=1_000)

with DAG("in_waves", schedule=None):
    TelzinoCampaignOperator(**COMMON, max_active_calls=WAVE)
