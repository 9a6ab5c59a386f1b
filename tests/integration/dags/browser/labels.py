"""Call two contacts: their tasks have labels, as the docs recommend.

- **Needs** the connection `telzino_default`.
"""

from __future__ import annotations

from airflow.sdk import dag

from airflow_provider_telzino.operators.call import TelzinoPlaceCallOperator


@dag(schedule=None, doc_md=__doc__)
def labels() -> None:
    """Call a contact who answers and one who is busy."""
    TelzinoPlaceCallOperator.partial(
        task_id="call",
        map_index_template="contact {{ task.metadata['contact_id'] }}",
        poll_interval=1,
    ).expand_kwargs(
        [
            {"to_number": "+15005550100", "metadata": {"contact_id": 17}},
            {"to_number": "+15005550102", "metadata": {"contact_id": 18}},
        ]
    )


labels()
