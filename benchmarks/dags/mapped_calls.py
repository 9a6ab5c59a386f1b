"""A mapped task for each contact, which places a call and waits for its end."""

from __future__ import annotations

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator
from benchmarks.dag_calls import contacts, placing_dags_of

for count, arguments in placing_dags_of("mapped"):
    TelzinoPlaceCallOperator.partial(task_id="call", **arguments).expand_kwargs(
        [
            {
                "to_number": contact["to_number"],
                "call_context": f"You are calling {contact['name']} to confirm an appointment.",
            }
            for contact in contacts(count)
        ]
    )
