"""One task that calls all contacts."""

from __future__ import annotations

import functools

from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
from benchmarks.dag_calls import contacts, placing_dags_of

for count, arguments in placing_dags_of("campaign"):
    TelzinoCampaignOperator(
        task_id="call",
        contacts=functools.partial(contacts, count),
        call_context="You are calling {{ contact.name }} to confirm an appointment.",
        **arguments,
    )
