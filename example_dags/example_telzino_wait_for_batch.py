"""Wait for many calls in one task, and count their outcomes.

- **Needs** the connection `telzino_default` only. It calls nobody.
- **Start it** with the ids of calls that were already placed: up to thousands.
- **Change** `count`, and which fields of the records it gets (`record_fields`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
    params={
        "call_ids": Param(
            default=[],
            type="array",
            items={"type": "string", "format": "uuid"},
            description="The calls to wait for: up to thousands.",
        ),
    },
)
def example_telzino_wait_for_batch() -> None:
    """Wait until all calls have ended, then count."""
    wait_for_calls = TelzinoCallBatchSensor(
        task_id="wait_for_calls",
        call_ids="{{ params.call_ids }}",
        record_fields=["id", "status", "duration"],  # no personal data in XCom
        poke_interval=5,
        timeout=6 * 60 * 60,
    )

    @task
    def count(records: list[dict[str, Any]]) -> dict[str, Any]:
        """Work with all outcomes at once: here, count them."""
        return {
            "outcomes": Counter(record["status"] for record in records),
            "talk_minutes": sum(record.get("duration") or 0 for record in records) / 60,
        }

    count(wait_for_calls.output)  # type: ignore[arg-type]  # a task's output stands for what it returns


example_telzino_wait_for_batch()
