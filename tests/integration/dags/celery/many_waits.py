"""Many mapped waits: ``{"calls": [...]}``."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_telzino.sensors.call import TelzinoCallSensor


@task
def calls(params: dict[str, Any] | None = None) -> list[str]:
    """Return the ids of the calls to wait for."""
    return list((params or {})["calls"])


@task(trigger_rule="all_done")
def statuses(records: Any) -> dict[str, str]:
    """Collect what the mapped tasks pushed."""
    return {record["id"]: record["status"] for record in records}


@dag(schedule=None, params={"calls": Param([], type="array")})
def many_waits() -> None:
    """Wait for each call in a task of its own."""
    wait = TelzinoCallSensor.partial(task_id="wait", poke_interval=5).expand(call_id=calls())
    statuses(wait.output)


many_waits()
