"""For the test of kills: one task calls all contacts of a run's ``conf``, which the worker reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator

MAX_ACTIVE = 100


def contacts(dag_run: Any) -> Any:
    """Return the numbers to call."""
    return dag_run.conf["numbers"]


with DAG("campaign_kills", schedule=None):
    # The retries are for crashes only, of which there are many.
    TelzinoCampaignOperator(
        task_id="campaign",
        contacts=contacts,
        max_active_calls=MAX_ACTIVE,
        redial_on=(),
        poll_interval=2,
        retries=99,
        retry_delay=timedelta(seconds=1),
    )
