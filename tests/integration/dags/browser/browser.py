"""Waits with the connection that the browser test adds in the form."""

from __future__ import annotations

from airflow.sdk import Param, dag

from airflow_provider_telzino.sensors.call import TelzinoCallSensor


@dag(schedule=None, params={"call_id": Param("", type="string", title="Call ID")})
def browser() -> None:
    """Wait for one call."""
    TelzinoCallSensor(
        task_id="wait_for_call",
        call_id="{{ params.call_id }}",
        telzino_conn_id="telzino_from_form",
        record_fields=["id", "agent_id", "status", "transcript_id", "summary_text", "duration"],
        poke_interval=1,
    )


browser()
