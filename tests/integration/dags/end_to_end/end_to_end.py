"""Every way to wait and every way to end, in one DAG run.

The run's ``conf`` has the ids of calls that were placed already, by the outcome that each will have.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, chain, dag, task

from airflow_provider_telzino.operators.call import TelzinoGetCallOperator
from airflow_provider_telzino.sensors.call import TelzinoCallSensor

OUTCOMES = ("completed", "no_answer", "busy", "failed", "long")


def conf(outcome: str) -> str:
    """Return the template for the id of the call with this outcome."""
    return "{{ params.%s }}" % outcome  # noqa: UP031  # braces


@task(trigger_rule="all_done", show_return_value_in_logs=False)
def as_seen(record: Any) -> dict[str, Any]:
    """Say what a downstream task gets from XCom."""
    return {"type": type(record).__name__, "record": record}


@task
def ids(params: dict[str, Any] | None = None) -> list[str]:
    """Return the calls to wait for in mapped tasks."""
    return list((params or {})["mapped"])


@task
def statuses(records: Any) -> dict[str, str]:
    """Collect what the mapped tasks pushed."""
    return {record["id"]: record["status"] for record in records}


@task.branch
def choose(record: Any) -> str:
    """Branch on the status."""
    return "talked" if record["status"] == "completed" else "not_reached"


@task(show_return_value_in_logs=False)
def talked(record: Any) -> str:
    """Use the summary."""
    return str(record["summary_text"])


@task
def not_reached() -> None:
    """Never run here."""


@dag(
    schedule=None,
    params={
        **{name: Param(None, type=["null", "string"]) for name in OUTCOMES},
        "mapped": Param([], type="array"),
    },
)
def end_to_end() -> None:
    """Wait in all modes, for all outcomes."""
    common: dict[str, Any] = {"poke_interval": 1, "timeout": 600}
    deferred = TelzinoCallSensor(task_id="deferred", call_id=conf("completed"), **common)
    as_seen.override(task_id="seen_deferred")(deferred.output)
    TelzinoCallSensor(task_id="poked", call_id=conf("completed"), deferrable=False, **common)
    # Airflow fails a task that is queued again before its executor has told of the former run's end.
    rescheduled: dict[str, Any] = {"deferrable": False, "mode": "reschedule", "poke_interval": 15}
    TelzinoCallSensor(task_id="rescheduled", call_id=conf("completed"), timeout=600, **rescheduled)
    get = TelzinoGetCallOperator(task_id="got", call_id=conf("no_answer"), poll_interval=1)
    as_seen.override(task_id="seen_got")(get.output)
    TelzinoGetCallOperator(task_id="got_now", call_id=conf("long"), wait_for_completion=False)
    TelzinoCallSensor(
        task_id="cut", call_id=conf("completed"), record_fields=["id", "status", "duration"], **common
    )

    chain(choose(deferred.output), [talked(deferred.output), not_reached()])

    fails = TelzinoCallSensor(task_id="fails", call_id=conf("failed"), retries=2, retry_delay=1, **common)
    as_seen.override(task_id="seen_fails")(fails.output)
    skips = TelzinoCallSensor(task_id="skips", call_id=conf("busy"), skip_on=["busy"], **common)
    as_seen.override(task_id="seen_skips")(skips.output)

    late: dict[str, Any] = {"call_id": conf("long"), "timeout": 6}
    TelzinoCallSensor(task_id="late", retries=2, poke_interval=1, **late)
    TelzinoCallSensor(task_id="late_softly", soft_fail=True, poke_interval=1, **late)
    TelzinoCallSensor(task_id="late_poked", deferrable=False, poke_interval=1, **late)
    TelzinoCallSensor(task_id="late_rescheduled", **late, **rescheduled)

    mapped = TelzinoCallSensor.partial(task_id="mapped", fail_on=(), **common).expand(call_id=ids())
    statuses(mapped.output)


end_to_end()
